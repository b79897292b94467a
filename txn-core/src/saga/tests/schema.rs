//! The published schema is that of the types which read a definition.

use std::path::Path;

use crate::saga::Definition;

#[test]
fn the_published_schema_is_that_of_the_types() {
    let schema = schemars::schema_for!(Definition);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/saga.schema.json");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).expect("the schema is written");
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        published == text,
        "docs/saga.schema.json is old: UPDATE_EXPECT=1 cargo test -p pactum-core"
    );
}
