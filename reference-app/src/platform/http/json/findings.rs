//! What is wrong with a document, gathered over several readings.

use std::{cell::RefCell, collections::BTreeSet};

use super::{
    failure::Failure,
    pointer::{child, own_child},
};
use crate::platform::http::FieldError;
pub(super) use crate::platform::http::problem::MOST_ERRORS as MOST;

/// The errors so far, and the places that the next reading fills with blanks.
#[derive(Default)]
pub(super) struct Findings {
    errors: RefCell<Vec<FieldError>>,
    blank: RefCell<BTreeSet<String>>,
}

impl Findings {
    pub(super) fn new(errors: Vec<FieldError>) -> Self {
        Self { errors: RefCell::new(errors), blank: RefCell::default() }
    }

    /// Adds an error, unless its place has one.
    pub(super) fn add(&self, pointer: String, detail: impl Into<String>) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < MOST && errors.iter().all(|error| error.pointer != pointer) {
            errors.push(FieldError::new(pointer, detail));
        }
    }

    /// Adds the error of the value at `pointer`, which the next reading replaces by a blank.
    pub(super) fn record(&self, pointer: &str, failure: Failure) -> Failure {
        let (place, detail) = match failure {
            Failure::Wrong(detail) => (pointer.to_owned(), detail),
            Failure::Missing(field) => (child(pointer, field), "This field is required.".to_owned()),
            Failure::Recorded => return Failure::Recorded,
        };
        self.add(place.clone(), detail);
        self.blank.borrow_mut().insert(place);
        Failure::Recorded
    }

    pub(super) fn is_blank(&self, pointer: &str) -> bool {
        self.blank.borrow().contains(pointer)
    }

    /// The fields of the object at `pointer` that are blanks.
    pub(super) fn blanks_of(&self, pointer: &str) -> Vec<String> {
        self.blank.borrow().iter().filter_map(|place| own_child(pointer, place)).collect()
    }

    /// How many places are blanks. A reading that adds none is the last.
    pub(super) fn blanks(&self) -> usize {
        self.blank.borrow().len()
    }

    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.errors.into_inner()
    }
}
