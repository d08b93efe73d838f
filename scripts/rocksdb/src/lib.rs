//! Nothing: the build script of the dependency is what is wanted.
