//! The example as its readers run it.

use std::process::Command;

/// Goal: each thing that the story is to show is told, and the books are right at the end.
#[test]
fn the_story_is_told_to_its_end() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_trip-booking"));
    let output = program.output().expect("the example is built beside its tests");
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{told}\n{complaint}", output.status);
    for says in [
        "nights[1]/hotel",
        r#"→ booked: {"approved_by":null,"paid":380,"ticket":1}"#,
        r#"→ booked: {"approved_by":"Grace","paid":1690,"ticket":2}"#,
        "→ undone, because of `pay`: the card has no 380 left",
        "✓ the books are right",
    ] {
        assert!(told.contains(says), "{says}\n{told}");
    }
    // What failed is told before what was undone for it.
    let [failed, undone] = ["failed: the card", "hotel    undone"].map(|what| told.find(what));
    assert!(failed.is_some() && failed < undone, "{told}");
}
