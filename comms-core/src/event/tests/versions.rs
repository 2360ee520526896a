//! Upcasters and codecs.

use proptest::prelude::*;

use super::*;

#[test]
fn build_refuses_gaps_duplicates_and_steps_beyond_the_newest_version() {
    let json = Versions::<Placed>::json;
    let event = "order.placed";
    let refused = |builder: VersionsBuilder<Placed>| builder.build().unwrap_err();
    assert_eq!(refused(json().upcast(1, v1_to_v2)), SetupError::Gap { event, from: 2 });
    let duplicate = json().upcast(2, v2_to_v3).upcast(1, v1_to_v2).upcast(2, v2_to_v3);
    assert_eq!(refused(duplicate), SetupError::DuplicateStep { event, from: 2 });
    assert_eq!(refused(json().upcast(3, Ok)), SetupError::BeyondNewest { event, from: 3, newest: 3 });
    let zero = json().upcast(0, Ok).upcast(1, Ok).upcast(2, Ok);
    assert_eq!(refused(zero), SetupError::VersionZero { event });
    assert!(refused(json().upcast(1, Ok)).to_string().contains("no upcaster from version 2 to 3"));
}

fn affine(from: u32) -> impl Fn(Value) -> Result<Value, Error> + Send + Sync + 'static {
    move |value| {
        let number = value.as_i64().ok_or_else(|| Error::invalid("not a number"))?;
        Ok(json!(number.wrapping_mul(3).wrapping_add(i64::from(from))))
    }
}

proptest! {
    #[test]
    fn upcasters_are_applied_in_version_order_regardless_of_registration_order(
        order in Just((1..10_u32).collect::<Vec<_>>()).prop_shuffle(),
        start in 1..=10_u32,
        number: i64,
    ) {
        let builder = order.into_iter().fold(Versions::of(Digits), |b, from| b.upcast(from, affine(from)));
        let upcasted = builder.build().unwrap().upcast(start, json!(number)).unwrap();
        let composed = (start..10).fold(json!(number), |value, from| affine(from)(value).unwrap());
        prop_assert_eq!(upcasted, composed);
    }
}

#[test]
fn a_custom_codec_sets_the_content_type_and_decodes_its_payload() {
    let versions = Versions::of(Digits).build().unwrap();
    let message = versions.message(&EventSource::new("here", Clock::system()), &Tenth).unwrap();
    assert_eq!(message.headers().text(wire::CONTENT_TYPE), Some("text/x-digits"));
    assert!(versions.decode(&message).is_ok());
    let message = Message::new(MessageParts { payload: Some(b"9"), ..message.parts() });
    assert!(versions.decode(&message).is_err());
    let older = Versions::of(Digits).upcast(9, Ok).build().unwrap();
    let message = message.with_headers(|headers| headers.insert(wire::CE_TYPE, "tenth.v9"));
    let error = older.decode(&message).map(drop).unwrap_err().chain().to_string();
    assert!(error.contains("Codec::decode_raw"), "{error}");
}
