//! A picture of a definition, as Mermaid or DOT text.

use std::fmt::Write as _;

use super::graph::{Body, Graph, Node, NodeKind, WaitFor};

/// The two languages that pictures are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Mermaid,
    Dot,
}

/// The graph in Mermaid.
#[must_use]
pub fn mermaid(graph: &Graph) -> String {
    let mut text = String::from("flowchart TD\n");
    draw_body(&mut text, Language::Mermaid, graph.body(), "", 1);
    text
}

/// The graph in DOT, for Graphviz.
#[must_use]
pub fn dot(graph: &Graph) -> String {
    let mut text =
        format!("digraph \"{}\" {{\n  compound=true;\n  node [shape=box];\n", graph.key());
    draw_body(&mut text, Language::Dot, graph.body(), "", 1);
    text.push_str("}\n");
    text
}

fn draw_body(text: &mut String, language: Language, body: &Body, prefix: &str, depth: usize) {
    for node in &body.nodes {
        draw_node(text, language, node, prefix, depth);
    }
    for node in &body.nodes {
        for next in &node.after {
            let target = &body.nodes[*next];
            let label = edge_label(node, *next);
            draw_edge(text, language, (node, target), prefix, label, depth);
        }
    }
}

fn draw_node(text: &mut String, language: Language, node: &Node, prefix: &str, depth: usize) {
    let indent = "  ".repeat(depth);
    let name = name(prefix, &node.id);
    let label = escape(language, &label(node));
    let Some((inner, _)) = node.inner() else {
        let _ = match (language, &node.kind) {
            (Language::Mermaid, NodeKind::Choice(_)) => {
                writeln!(text, "{indent}{name}{{\"{label}\"}}")
            }
            (Language::Mermaid, NodeKind::Wait(_)) => {
                writeln!(text, "{indent}{name}([\"{label}\"])")
            }
            (Language::Mermaid, NodeKind::Action(_) | NodeKind::Each(_) | NodeKind::Saga(_)) => {
                writeln!(text, "{indent}{name}[\"{label}\"]")
            }
            (Language::Dot, kind) => {
                let shape = match kind {
                    NodeKind::Choice(_) => "diamond",
                    NodeKind::Wait(_) => "oval",
                    NodeKind::Action(_) | NodeKind::Each(_) | NodeKind::Saga(_) => "box",
                };
                writeln!(text, "{indent}{name} [label=\"{label}\", shape={shape}];")
            }
        };
        return;
    };
    let _ = match language {
        Language::Mermaid => writeln!(text, "{indent}subgraph {name}[\"{label}\"]"),
        Language::Dot => writeln!(
            text,
            "{indent}subgraph cluster_{name} {{\n{indent}  label=\"{label}\";\n{indent}  {name} \
             [shape=point, style=invis];"
        ),
    };
    draw_body(text, language, inner, &format!("{prefix}{}/", node.id), depth + 1);
    let end = match language {
        Language::Mermaid => "end",
        Language::Dot => "}",
    };
    let _ = writeln!(text, "{indent}{end}");
}

fn draw_edge(
    text: &mut String,
    language: Language,
    (from, to): (&Node, &Node),
    prefix: &str,
    label: Option<String>,
    depth: usize,
) {
    let indent = "  ".repeat(depth);
    let (tail, head) = (name(prefix, &from.id), name(prefix, &to.id));
    let label = label.map(|label| escape(language, &label));
    let _ = match (language, label) {
        (Language::Mermaid, None) => writeln!(text, "{indent}{tail} --> {head}"),
        (Language::Mermaid, Some(label)) => {
            writeln!(text, "{indent}{tail} -->|\"{label}\"| {head}")
        }
        (Language::Dot, label) => {
            let mut marks = Vec::new();
            marks.extend(label.map(|label| format!("label=\"{label}\"")));
            marks.extend(from.inner().map(|_| format!("ltail=cluster_{tail}")));
            marks.extend(to.inner().map(|_| format!("lhead=cluster_{head}")));
            let marks =
                if marks.is_empty() { String::new() } else { format!(" [{}]", marks.join(", ")) };
            writeln!(text, "{indent}{tail} -> {head}{marks};")
        }
    };
}

/// What leads from a choice to a target; nothing for other steps.
fn edge_label(node: &Node, target: usize) -> Option<String> {
    let NodeKind::Choice(choice) = &node.kind else { return None };
    let cases = choice.cases.iter().filter(|(_, to)| *to == target);
    let mut labels: Vec<String> = cases.map(|(condition, _)| condition.text().to_owned()).collect();
    labels.extend((choice.otherwise == Some(target)).then(|| "else".to_owned()));
    Some(labels.join(" or "))
}

fn label(node: &Node) -> String {
    let id = &node.id;
    match &node.kind {
        NodeKind::Action(action) => {
            let mark = if action.compensable { "" } else { ", not compensable" };
            format!("{id}: {} at {}{mark}", action.action, action.resource)
        }
        NodeKind::Choice(_) => format!("{id}?"),
        NodeKind::Wait(WaitFor::Time(span)) => {
            format!("{id}: wait {}", humantime::format_duration(*span))
        }
        NodeKind::Wait(WaitFor::Event { timeout: None, .. }) => format!("{id}: wait for an event"),
        NodeKind::Wait(WaitFor::Event { timeout: Some(span), .. }) => {
            format!("{id}: wait for an event, at most {}", humantime::format_duration(*span))
        }
        NodeKind::Each(each) => {
            let side = if each.parallel == 1 {
                String::new()
            } else {
                format!(", {} side by side", each.parallel)
            };
            format!("{id}: for each of up to {}{side}", each.limit)
        }
        NodeKind::Saga(saga) => format!("{id}: saga {}", saga.key),
    }
}

/// A name that both languages take: ids have no other sign than these.
fn name(prefix: &str, id: &str) -> String {
    format!("s_{prefix}{id}").replace('-', "_m").replace('/', "_s")
}

fn escape(language: Language, text: &str) -> String {
    match language {
        Language::Mermaid => text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;"),
        Language::Dot => text.replace('\\', "\\\\").replace('"', "\\\""),
    }
}
