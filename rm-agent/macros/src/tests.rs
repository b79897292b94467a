//! What is refused, and in which words. What compiles is tested where the agent is.

use proc_macro2::TokenStream;
use quote::quote;

use crate::expand::expand;

#[track_caller]
fn refused(arguments: TokenStream, function: TokenStream) -> String {
    expand(arguments, function).unwrap_err().to_string()
}

fn good() -> TokenStream {
    quote!(
        async fn f(agent: &Agent) -> Result<(), E> {
            Ok(())
        }
    )
}

#[test]
fn what_cannot_be_run_is_refused_with_what_to_write() {
    for (arguments, function, says) in [
        (
            quote!(agent = a),
            quote!(
                fn f() -> Result<(), E> {
                    Ok(())
                }
            ),
            "needs an async fn",
        ),
        (
            quote!(agent = a),
            quote!(
                async fn f() {}
            ),
            "needs a Result to return",
        ),
        (
            quote!(agent = a),
            quote!(
                struct F;
            ),
            "stands on an async fn",
        ),
        (
            quote!(agent = a),
            quote!(
                async fn f() -> Result<(), E>;
            ),
            "stands on an async fn",
        ),
        (quote!(), good(), "write `agent = self.agent`"),
        (quote!(name = "t"), good(), "write `agent = self.agent`"),
        (quote!(agent = a, agent = b), good(), "`agent` is given twice"),
        (quote!(agent = a, retries = 3), good(), "`retries` is no argument: agent, name,"),
        (quote!("t"), good(), "expected an argument: agent,"),
        (quote!(agent), good(), "expected `=`"),
        (quote!(agent = a name = "t"), good(), "expected `,`"),
        (quote!(agent = a, name = t), good(), "a string literal"),
        (
            quote!(agent = a, propagation = sometimes),
            good(),
            "expected one of: required, supports,",
        ),
        (quote!(agent = a, propagation = "nested"), good(), "expected one of: required, supports,"),
        (quote!(agent = a, wait = forever), good(), "expected one of: completed, decided"),
    ] {
        let message = refused(arguments.clone(), function);
        assert!(message.contains(says), "{arguments}: {message}");
    }
}

#[test]
fn a_timeout_has_a_unit_or_is_in_seconds_and_has_bounds() {
    for (timeout, ms) in [
        (quote!("500ms"), "500u64"),
        (quote!("30s"), "30000u64"),
        (quote!("2m"), "120000u64"),
        (quote!(45), "45000u64"),
        (quote!("1440m"), "86400000u64"),
    ] {
        let expanded = expand(quote!(agent = a, timeout = #timeout), good()).unwrap().to_string();
        assert!(expanded.contains(ms), "{timeout}: {expanded}");
    }
    for timeout in [
        quote!("30"),
        quote!("s"),
        quote!(""),
        quote!("30 s"),
        quote!("1h"),
        quote!("-1s"),
        quote!(0),
        quote!("0ms"),
        quote!("1441m"),
        quote!(1.5),
        quote!(30u8),
        quote!("99999999999999999999s"),
        quote!(99999999999999999999),
    ] {
        let message = refused(quote!(agent = a, timeout = #timeout), good());
        assert!(message.contains("the timeout is \"500ms\""), "{timeout}: {message}");
    }
}
