//! The diagram.

use super::data::{order, parallel, step, undoable};
use crate::saga::Definition;

#[test]
fn the_diagram_shows_steps_compensations_and_the_pivot() {
    let expected = "\
stateDiagram-v2
    [*] --> Started
    Started --> PaymentProcessing
    PaymentProcessing --> PaymentProcessing : payment done
    PaymentProcessing --> Failed : payment failed
    PaymentProcessing --> PaymentCancelled : payment timed out, inventory failed
    PaymentProcessing --> ShippingProcessing : inventory done
    PaymentProcessing --> CompensateInventory : inventory timed out
    ShippingProcessing --> Completed : shipping done (pivot)
    ShippingProcessing --> CompensateInventory : shipping failed
    CompensateInventory --> PaymentCancelled : compensated
    PaymentCancelled --> Failed : compensated
    Completed --> [*]
    Failed --> [*]
    note right of ShippingProcessing : shipping without a reply: retried, then held
";
    assert_eq!(order().mermaid(), expected);
    assert_eq!(order().mermaid(), expected);
}

#[test]
fn names_that_mermaid_cannot_read_are_quoted() {
    let expected = "\
stateDiagram-v2
    state \"PaymentProcessing + inventory\" as state_1
    state \"shipping\" as state_2
    state \"PaymentCancelled + compensating inventory\" as state_3
    [*] --> Started
    Started --> state_1
    state_1 --> state_2 : payment + inventory done
    state_1 --> state_3 : payment + inventory failed, payment + inventory timed out
    state_2 --> Completed : shipping done
    state_2 --> state_3 : shipping failed, shipping timed out
    state_3 --> Failed : compensated
    Completed --> [*]
    Failed --> [*]
";
    assert_eq!(parallel().mermaid(), expected);
    let quoted =
        Definition::builder("order", 1).step(step::<'P'>("end").running("a \"b\" #1\nc")).build().unwrap();
    assert!(
        quoted.mermaid().contains("state \"a #quot;b#quot; #35;1 c\" as state_1"),
        "{}",
        quoted.mermaid()
    );
}

#[test]
fn steps_after_the_pivot_only_go_forward() {
    let definition = Definition::builder("order", 1)
        .step(undoable::<'S'>("shipping").pivot())
        .step(step::<'I'>("mail").running("Mailing"))
        .build()
        .unwrap();
    let text = definition.mermaid();
    let of_mail: Vec<_> = text.lines().filter(|line| line.contains("Mailing")).map(str::trim).collect();
    assert_eq!(
        of_mail,
        [
            "state_1 --> Mailing : shipping done (pivot)",
            "Mailing --> Completed : mail done",
            "note right of Mailing : mail: retried, then held",
        ]
    );
}
