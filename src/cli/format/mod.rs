//! --format
