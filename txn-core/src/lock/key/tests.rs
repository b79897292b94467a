//! One key, one encoding.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn value() -> impl Strategy<Value = KeyValue> {
    prop_oneof![
        any::<i64>().prop_map(KeyValue::Integer),
        any::<u64>().prop_map(KeyValue::unsigned),
        any::<f64>().prop_map(KeyValue::float),
        // A small alphabet, so that near-collisions are common.
        "[ab:_,\\x00]{0,4}".prop_map(KeyValue::Text),
        vec(0_u8..4, 0..4).prop_map(KeyValue::Bytes),
    ]
}

fn key() -> impl Strategy<Value = LockKey> {
    let kind = prop_oneof![
        Just(KeyKind::Row),
        "[ab]{1,2}".prop_map(KeyKind::Unique),
        Just(KeyKind::Table)
    ];
    ("[ab.]{1,3}", kind, vec(value(), 1..4)).prop_map(|(table, kind, values)| {
        let values = if kind == KeyKind::Table { Vec::new() } else { values };
        LockKey { table, kind, values }
    })
}

proptest! {
    #[test]
    fn the_encoding_is_injective_and_round_trips(a in key(), b in key()) {
        let (x, y) = (a.encode().unwrap(), b.encode().unwrap());
        prop_assert_eq!(a == b, x == y);
        prop_assert_eq!(x.decode(), a);
    }

    #[test]
    fn bytes_from_outside_are_one_canonical_key_or_refused(bytes in vec(0_u8..6, 0..40)) {
        if let Ok(key) = LockKey::decode(&bytes) {
            let again = key.encode().unwrap();
            prop_assert_eq!(again.as_bytes(), &bytes[..]);
        }
    }

    #[test]
    fn every_key_lies_in_its_table(key in key()) {
        let table = LockKey { table: key.table.clone(), kind: KeyKind::Table, values: vec![] };
        prop_assert_eq!(key.encode().unwrap().table(), table.encode().unwrap());
    }
}

#[test]
fn numbers_that_are_equal_are_one_key() {
    assert_eq!(KeyValue::float(1.0), KeyValue::Integer(1));
    assert_eq!(KeyValue::float(-0.0), KeyValue::Integer(0));
    assert_eq!(KeyValue::unsigned(7), KeyValue::Integer(7));
    assert_eq!(KeyValue::float(f64::NAN), KeyValue::float(-f64::NAN));
    assert_ne!(KeyValue::float(1.5), KeyValue::float(1.25));
    assert_eq!(
        KeyValue::float(9_223_372_036_854_775_808.0),
        KeyValue::Float(0x43E0_0000_0000_0000)
    );
}
