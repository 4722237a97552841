//! What differs by operating system: mapped files, limits, the LMDB environment.
