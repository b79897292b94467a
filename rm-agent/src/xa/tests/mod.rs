//! XA on real servers.

mod hostile;
mod life;
mod on_mysql;
mod on_postgres;
mod one_phase;
mod tidying;
mod world;

/// The tests that are the same everywhere, under their own names.
macro_rules! on {
    ($module:ident, $database:ty: $($test:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $test() {
                super::$module::$test::<$database>().await;
            }
        )*
    };
}
use on;

/// Nothing of it can work there, and it is said at once.
#[tokio::test]
async fn sqlite_is_refused_with_the_reason() {
    let pool = sqlx::sqlite::SqlitePoolOptions::new()
        .max_connections(2)
        .connect("sqlite::memory:")
        .await
        .unwrap();
    let link = std::sync::Arc::new(crate::link::fake::Fake::default());
    let attached = super::XaPool::attach_over(
        link,
        "bank-a".parse().unwrap(),
        pool,
        super::XaOptions::default(),
    );
    let error = attached.await.unwrap_err();
    assert!(error.to_string().contains("SQLite has no prepared transactions"), "{error}");
}
