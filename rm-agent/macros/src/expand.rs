//! The function that comes of an annotated one: the same signature, the body inside a run.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned as _;
use syn::{Error, ItemFn, LitStr, Result, ReturnType, parse2};

use crate::arguments::{Arguments, Rule};

pub(crate) fn expand(arguments: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let arguments: Arguments = parse2(arguments)?;
    let ItemFn { attrs, vis, sig, block } = parse2(function).map_err(|error| {
        Error::new(error.span(), "#[global_transaction] stands on an async fn with a body")
    })?;
    let Arguments { agent, name, timeout_ms, propagation, wait, rules } = arguments;
    if sig.asyncness.is_none() {
        let message =
            "#[global_transaction] needs an async fn: a transaction waits for its answers";
        return Err(Error::new(sig.fn_token.span, message));
    }
    let ReturnType::Type(_, output) = &sig.output else {
        let message = "#[global_transaction] needs a Result to return: Ok commits, Err rolls back";
        return Err(Error::new(sig.ident.span(), message));
    };
    let agent = agent.ok_or_else(|| {
        let message = "#[global_transaction] needs an agent: write `agent = self.agent`, or another \
                       expression for an Agent";
        Error::new(sig.ident.span(), message)
    })?;
    let name = name.unwrap_or_else(|| LitStr::new(&sig.ident.to_string(), sig.ident.span()));
    let timeout = timeout_ms.map(|ms| quote!(.timeout(::core::time::Duration::from_millis(#ms))));
    let propagation =
        propagation.map(|variant| quote!(.propagation(::pactum_agent::Propagation::#variant)));
    let wait = wait.map(|variant| quote!(.wait(::pactum_agent::Wait::#variant)));
    let rules = rules.iter().map(|Rule { method, predicate }| quote!(.#method(#predicate)));
    let borrowed = syn::Ident::new("__pactum_agent", agent.span());
    Ok(quote! {
        #(#attrs)*
        #vis #sig {
            // Cloned, since the arguments move into the body.
            let #borrowed: ::pactum_agent::Agent = ::core::clone::Clone::clone(
                ::core::borrow::Borrow::<::pactum_agent::Agent>::borrow(&(#agent)),
            );
            let __pactum_run = #borrowed.global(#name) #timeout #propagation #wait #(#rules)*
                .run(async move |_| -> #output #block);
            match __pactum_run.await {
                ::core::result::Result::Ok(finished) => ::core::result::Result::Ok(finished.value),
                ::core::result::Result::Err(error) => {
                    ::core::result::Result::Err(::pactum_agent::RunError::flatten(error))
                }
            }
        }
    })
}
