//! podling-runtime: makes a container out of a bundle, as OCI's runtime specification says.
