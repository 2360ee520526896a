//! The errors of a document, collected over several passes.

use std::{cell::RefCell, collections::BTreeSet};

use super::{
    pointer::{child, direct_child},
    read_error::ReadError,
};
use crate::platform::http::FieldError;
pub(super) use crate::platform::http::problem::MAX_ERRORS;

/// The errors so far, and the places that the next pass replaces by placeholders.
#[derive(Default)]
pub(super) struct ErrorList {
    errors: RefCell<Vec<FieldError>>,
    replaced: RefCell<BTreeSet<String>>,
}

impl ErrorList {
    pub(super) fn new(errors: Vec<FieldError>) -> Self {
        Self { errors: RefCell::new(errors), replaced: RefCell::default() }
    }

    /// Adds an error, unless the place already has one or the list is full.
    pub(super) fn add(&self, pointer: String, detail: impl Into<String>) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < MAX_ERRORS && errors.iter().all(|error| error.pointer != pointer) {
            errors.push(FieldError::new(pointer, detail));
        }
    }

    /// Adds the error of the value at `pointer`, and replaces the value by a placeholder in the next pass.
    pub(super) fn record(&self, pointer: &str, error: ReadError) -> ReadError {
        let (place, detail) = match error {
            ReadError::Wrong(detail) => (pointer.to_owned(), detail),
            ReadError::Missing(field) => (child(pointer, field), "This field is required.".to_owned()),
            ReadError::Recorded => return ReadError::Recorded,
        };
        self.add(place.clone(), detail);
        self.replaced.borrow_mut().insert(place);
        ReadError::Recorded
    }

    pub(super) fn is_replaced(&self, pointer: &str) -> bool {
        self.replaced.borrow().contains(pointer)
    }

    /// Returns the fields of the object at `pointer` that are replaced by placeholders.
    pub(super) fn replaced_fields(&self, pointer: &str) -> Vec<String> {
        self.replaced.borrow().iter().filter_map(|place| direct_child(pointer, place)).collect()
    }

    /// Returns the number of replaced places. A pass that adds none is the last one.
    pub(super) fn replaced_count(&self) -> usize {
        self.replaced.borrow().len()
    }

    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.errors.into_inner()
    }
}
