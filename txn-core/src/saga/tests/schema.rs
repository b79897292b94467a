//! The published schema is that of the types which read a definition.

use expect_test::expect_file;

use crate::saga::Definition;

#[test]
fn the_published_schema_is_that_of_the_types() {
    let schema = schemars::schema_for!(Definition);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    expect_file!["../../../../docs/saga.schema.json"].assert_eq(&text);
}
