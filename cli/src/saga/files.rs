//! Definitions as people write them: read, turned into JSON, and checked against each other.
//!
//! YAML becomes JSON and goes through the same checks. It is parsed within limits, and what YAML alone
//! can say is refused: keys that come twice or are no text, several documents.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use pactum_core::saga::limits::{DEFINITION_BYTES_MAX, MAPPING_NESTING_MAX, NESTING_MAX};
use pactum_core::saga::{Defined, Definition, DefinitionKey, Fault, Graph};

/// How deep a file is nested at most: levels of steps, with what a step has around its mapping.
const DEPTH_MAX: usize = 4 * NESTING_MAX + MAPPING_NESTING_MAX + 8;

/// A file that was checked.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) path: PathBuf,
    /// As its writer sees it, as JSON; empty for one that cannot be read.
    json: Vec<u8>,
    pub(crate) result: Result<Defined, Wrong>,
}

/// Why a file has no definition.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// It cannot be read, or is none of the kind.
    Unreadable(anyhow::Error),
    Faults(Vec<Fault>),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Unreadable(error) => write!(f, "{error:#}"),
            Wrong::Faults(faults) => {
                let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
                f.write_str(&faults.join("\n"))
            }
        }
    }
}

/// A file that was not checked yet.
struct Written {
    path: PathBuf,
    json: Vec<u8>,
    key: Option<DefinitionKey>,
}

impl Checked {
    /// What is in the file, for a coordinator that may know parts which are not among the files.
    pub(crate) fn json(self) -> anyhow::Result<Vec<u8>> {
        match self.result {
            Err(Wrong::Unreadable(error)) => Err(error),
            Ok(_) | Err(Wrong::Faults(_)) => Ok(self.json),
        }
    }

    /// The definition; otherwise what is wrong with it, in one error.
    pub(crate) fn defined(self) -> anyhow::Result<Defined> {
        let path = self.path.display();
        let told = |wrong: Wrong| wrong.to_string().replace('\n', "\n  ");
        self.result.map_err(|wrong| anyhow::anyhow!("{path} is not right:\n  {}", told(wrong)))
    }
}

/// Reads and checks files, each once what it has as its parts is checked; and gives them in that order.
pub(crate) fn read(paths: &[PathBuf]) -> Vec<Checked> {
    let mut waiting = Vec::new();
    let mut checked = Vec::new();
    for path in paths {
        match written(path) {
            Ok(written) => waiting.push(written),
            Err(error) => {
                let result = Err(Wrong::Unreadable(error));
                checked.push(Checked { path: path.clone(), json: Vec::new(), result });
            }
        }
    }
    let mut known: BTreeMap<DefinitionKey, Arc<Graph>> = BTreeMap::new();
    loop {
        let open: BTreeSet<DefinitionKey> =
            waiting.iter().filter_map(|written| written.key.clone()).collect();
        let before = waiting.len();
        let mut still = Vec::new();
        for written in waiting {
            let missing = RefCell::new(false);
            let find = |key: &DefinitionKey| {
                let graph = known.get(key).cloned();
                *missing.borrow_mut() |= graph.is_none() && open.contains(key);
                graph
            };
            let result = Defined::read(&written.json, &find);
            if missing.into_inner() {
                still.push(written);
                continue;
            }
            if let Ok(defined) = &result {
                known.insert(defined.row.key.clone(), Arc::clone(&defined.graph));
            }
            let result = result.map_err(Wrong::Faults);
            checked.push(Checked { path: written.path, json: written.json, result });
        }
        waiting = still;
        // Those that are left are parts of each other, or of what is wrong.
        if waiting.len() == before || waiting.is_empty() {
            break;
        }
    }
    for Written { path, json, key: _ } in waiting {
        let result = Defined::read(&json, &|key| known.get(key).cloned());
        checked.push(Checked { path, json, result: result.map_err(Wrong::Faults) });
    }
    checked
}

fn written(path: &Path) -> anyhow::Result<Written> {
    let shown = path.display();
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("open {shown}"))?;
    let limit = u64::try_from(DEFINITION_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(limit + 1).read_to_string(&mut text).with_context(|| format!("read {shown}"))?;
    if text.len() > DEFINITION_BYTES_MAX {
        bail!(
            "{shown} is larger than {DEFINITION_BYTES_MAX} bytes, the most that a definition may have"
        );
    }
    let json = match path.extension().is_some_and(|extension| extension == "json") {
        true => text.into_bytes(),
        false => json(&text).with_context(|| format!("read {shown} as YAML"))?,
    };
    let definition = Definition::from_json(&json).ok();
    let key = definition.map(|definition| DefinitionKey {
        name: definition.saga.as_str().into(),
        version: definition.version,
    });
    Ok(Written { path: path.to_owned(), json, key })
}

/// YAML as JSON.
pub(super) fn json(yaml: &str) -> anyhow::Result<Vec<u8>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_documents: 1 },
        strict_booleans: true,
    };
    let value: serde_json::Value = serde_saphyr::from_str_with_options(yaml, options)?;
    Ok(serde_json::to_vec(&value)?)
}
