//! The diagram of a definition.

use std::fmt::Write;

use super::{
    definition::Definition,
    labels::{COMPLETED, FAILED, STARTED},
    plan::Plan,
    step::Step,
};

impl<D> Definition<D> {
    /// Returns the states as a Mermaid `stateDiagram-v2`, which GitHub renders in Markdown: the steps, the way of the
    /// compensation, and the pivot. The text is the same for the same definition. A cancel takes the edge of a failure.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let plan = &*self.0;
        let mut diagram = Diagram::default();
        diagram.edge(STARTED, &plan.running_label(0), "");
        for stage in 0..plan.stages.len() {
            plan.draw_stage(stage, &mut diagram);
        }
        for stage in (0..plan.stages.len()).rev().filter(|stage| plan.has_compensation(*stage)) {
            let earlier = stage.checked_sub(1);
            diagram.edge(&plan.compensating_label(stage), &plan.target_of_failure(earlier), "compensated");
        }
        diagram.print()
    }
}

impl<D> Plan<D> {
    fn draw_stage(&self, stage: usize, diagram: &mut Diagram) {
        let steps = &self.steps[self.stages[stage].clone()];
        let names = steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join(" + ");
        let from = self.running_label(stage);
        let is_last = stage + 1 == self.stages.len();
        let next = if is_last { COMPLETED.to_owned() } else { self.running_label(stage + 1) };
        let pivot = if steps[0].is_pivot { " (pivot)" } else { "" };
        diagram.edge(&from, &next, &format!("{names} done{pivot}"));
        let index = self.stages[stage].start;
        if self.is_after_pivot(index) {
            diagram.note(&from, &format!("{names}: retried, then held"));
            return;
        }
        // The failed step itself has nothing to undo. The others of its stage may have.
        let failed = if steps.len() > 1 { Some(stage) } else { stage.checked_sub(1) };
        diagram.edge(&from, &self.target_of_failure(failed), &format!("{names} failed"));
        if self.is_held_if_unknown(index) {
            diagram.note(&from, &format!("{names} without a reply: retried, then held"));
        } else {
            diagram.edge(&from, &self.target_of_failure(Some(stage)), &format!("{names} timed out"));
        }
    }

    fn has_compensation(&self, stage: usize) -> bool {
        self.steps[self.stages[stage].clone()].iter().any(Step::has_compensation)
    }

    /// Returns the state that follows a failure if `last` is the last stage to compensate.
    fn target_of_failure(&self, last: Option<usize>) -> String {
        let stages = last.map_or(0, |last| last + 1);
        let compensated = (0..stages).rev().find(|stage| self.has_compensation(*stage));
        compensated.map_or(FAILED.to_owned(), |stage| self.compensating_label(stage))
    }
}

/// The parts of a diagram, in the order in which they were added.
#[derive(Default)]
struct Diagram {
    states: Vec<String>,
    edges: Vec<(String, String, String)>,
    notes: Vec<(String, String)>,
}

impl Diagram {
    /// Adds an edge. Edges between the same states become one with all texts.
    fn edge(&mut self, from: &str, to: &str, text: &str) {
        for state in [from, to] {
            if !self.states.iter().any(|known| known == state) {
                self.states.push(state.to_owned());
            }
        }
        match self.edges.iter_mut().find(|edge| edge.0 == from && edge.1 == to) {
            Some((.., known)) if !known.is_empty() => *known = format!("{known}, {text}"),
            Some((.., known)) => text.clone_into(known),
            None => self.edges.push((from.to_owned(), to.to_owned(), text.to_owned())),
        }
    }

    fn note(&mut self, state: &str, text: &str) {
        self.notes.push((state.to_owned(), text.to_owned()));
    }

    fn print(&self) -> String {
        let mut text = String::from("stateDiagram-v2\n");
        for state in self.states.iter().filter(|state| !is_id(state)) {
            let _ = writeln!(text, "    state \"{}\" as {}", escape(state), self.id(state));
        }
        let _ = writeln!(text, "    [*] --> {STARTED}");
        for (from, to, label) in &self.edges {
            let label = if label.is_empty() { String::new() } else { format!(" : {label}") };
            let _ = writeln!(text, "    {} --> {}{label}", self.id(from), self.id(to));
        }
        for end in [COMPLETED, FAILED] {
            let _ = writeln!(text, "    {end} --> [*]");
        }
        for (state, note) in &self.notes {
            let _ = writeln!(text, "    note right of {} : {note}", self.id(state));
        }
        text
    }

    /// Returns the identifier of a state: its name, or `state_` and its number if Mermaid could not read the name.
    fn id(&self, state: &str) -> String {
        match self.states.iter().position(|known| known == state) {
            Some(number) if !is_id(state) => format!("state_{number}"),
            _ => state.to_owned(),
        }
    }
}

/// Returns whether a name is an identifier of Mermaid and no keyword of it: the keywords begin with a small letter.
fn is_id(state: &str) -> bool {
    state.starts_with(|c: char| c.is_ascii_uppercase()) && state.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Replaces the characters that end a quoted name or begin an entity.
fn escape(name: &str) -> String {
    name.replace('#', "#35;").replace('"', "#quot;").replace(['\n', '\r'], " ")
}
