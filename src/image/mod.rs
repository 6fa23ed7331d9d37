//! Images: references, registries, layouts, the store of blobs and unpacked layers, and the unpacker role.
