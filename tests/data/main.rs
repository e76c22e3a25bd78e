//! The loader against its promises (one order, whatever the workers; exact positions; no hang), images against a plain
//! loop, and files, whole and damaged.

mod files;
mod images;
mod loader;
