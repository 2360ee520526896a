//! One runnable example per pattern, in `examples/`.
