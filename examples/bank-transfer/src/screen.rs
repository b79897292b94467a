//! What is seen on the terminal: plain lines, and colours where a terminal shows them.

use std::fmt::Display;
use std::io::IsTerminal as _;

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    colours: bool,
}

/// What a piece of text is, in colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Heading,
    /// What is said once and read twice: XIDs, commands.
    Name,
    /// What may be skipped.
    Aside,
    Good,
    Bad,
    Waiting,
}

impl Screen {
    /// With colours if this is a terminal and nobody asked for none (`NO_COLOR`).
    pub(crate) fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Screen { colours: std::io::stdout().is_terminal() && !refused }
    }

    /// Prints a line.
    #[allow(clippy::print_stdout, reason = "the terminal is what the demo is for")]
    pub(crate) fn line(self, text: impl Display) {
        println!("{text}");
    }

    /// Says what is wrong, on standard error.
    #[allow(clippy::print_stderr, reason = "where a program complains")]
    pub(crate) fn complain(self, text: impl Display) {
        eprintln!("{text}");
    }

    /// Paints text. Pad it before: colours take room that is not seen.
    pub(crate) fn paint(self, ink: Ink, text: impl Display) -> String {
        let code = match ink {
            Ink::Heading => "1",
            Ink::Name => "36",
            Ink::Aside => "2",
            Ink::Good => "32",
            Ink::Bad => "31",
            Ink::Waiting => "33",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}
