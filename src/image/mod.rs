//! What a registry gives: references, manifests, blobs, layers.
