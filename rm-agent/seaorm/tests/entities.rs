//! Entities of SeaORM in a global transaction, on real servers: saved, found, and undone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pactum_agent::{Agent, AgentOptions, AtError, AtOptions, AtPool, Fate, RunError};
use pactum_coordinator::Embedded;
use pactum_seaorm::{SeaDatabase, SeaPool, agent_error};
use pactum_testkit::server::{self, Kind};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{DbErr, IsolationLevel, QueryOrder as _, TransactionSession as _, TransactionTrait};
use sqlx::Pool;

#[allow(unreachable_pub, reason = "SeaORM derives public items from them")]
mod account {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "account")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub owner: String,
        pub balance: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use account::{ActiveModel, Column, Entity};

/// A bank whose accounts SeaORM knows.
struct Bank<DB: SeaDatabase> {
    coordinator: Embedded,
    agent: Agent,
    db: SeaPool<DB>,
}

impl<DB: SeaDatabase> Bank<DB> {
    async fn open(kind: Kind, table: &str) -> Self {
        let database = server::database(kind, "seaorm").await.unwrap();
        database.execute(table).await.unwrap();
        let pool = Pool::<DB>::connect(&database.url()).await.unwrap();
        let coordinator = Embedded::start().await.unwrap();
        let agent = Agent::connect(AgentOptions::new(coordinator.url())).await.unwrap();
        let options = AtOptions::default().create_tables(true);
        let pool = AtPool::attach(&agent, "bank", pool, options).await.unwrap();
        let bank = Bank { coordinator, agent, db: SeaPool::new(pool) };
        bank.save("A", 100).await.unwrap();
        bank.save("B", 50).await.unwrap();
        bank
    }

    async fn save(&self, owner: &str, balance: i64) -> Result<account::Model, DbErr> {
        let (owner, balance) = (Set(owner.to_owned()), Set(balance));
        ActiveModel { owner, balance, ..Default::default() }.insert(&self.db).await
    }

    async fn accounts(&self) -> Vec<(i32, String, i64)> {
        let all = Entity::find().order_by_asc(Column::Id).all(&self.db).await.unwrap();
        all.into_iter().map(|row| (row.id, row.owner, row.balance)).collect()
    }

    async fn close(mut self) {
        self.agent.shutdown().await;
        self.coordinator.kill().await;
    }
}

/// Everything that an application does with entities, in one global transaction that fails.
async fn change_everything<DB: SeaDatabase>(bank: &Bank<DB>) -> Result<(), DbErr> {
    // Each statement a branch of its own.
    let saved = bank.save("C", 7).await?;
    assert_eq!(saved.owner, "C");
    Entity::update_many()
        .col_expr(Column::Balance, Expr::col(Column::Balance).add(1))
        .filter(Column::Owner.ne("C"))
        .exec(&bank.db)
        .await?;
    // Several in one branch, with a savepoint that is kept and one that is not.
    let tx = bank.db.begin().await?;
    let found = Entity::find_by_id(saved.id).one(&tx).await?.unwrap();
    let mut row: ActiveModel = found.into();
    row.balance = Set(8);
    assert_eq!(row.update(&tx).await?.balance, 8);
    let kept = tx.begin().await?;
    Entity::delete_by_id(1).exec(&kept).await?;
    kept.commit().await?;
    let dropped = tx.begin().await?;
    Entity::delete_by_id(2).exec(&dropped).await?;
    drop(dropped);
    assert_eq!(Entity::find_by_id(2).one(&tx).await?.unwrap().balance, 51);
    let upsert = ActiveModel { id: Set(2), owner: Set("B".to_owned()), balance: Set(9) };
    let conflict = OnConflict::column(Column::Id).update_column(Column::Balance).to_owned();
    Entity::insert(upsert).on_conflict(conflict).exec(&tx).await?;
    tx.commit().await?;
    let left = [(2, "B".to_owned(), 9), (saved.id, "C".to_owned(), 8)];
    assert_eq!(bank.accounts().await, left);
    Err(DbErr::Custom("the business changed its mind".to_owned()))
}

async fn check<DB: SeaDatabase>(kind: Kind, table: &str) {
    let bank = Bank::<DB>::open(kind, table).await;
    let before = bank.accounts().await;
    let run = bank.agent.global("change everything").run(async |_| change_everything(&bank).await);
    match run.await.unwrap_err() {
        RunError::Work { error: DbErr::Custom(_), fate: Fate::RolledBack(outcome) } => {
            assert!(outcome.completed);
        }
        error => panic!("{error:?}"),
    }
    assert_eq!(bank.accounts().await, before, "all of it is undone");

    let refused = bank.db.execute_unprepared("TRUNCATE TABLE account").await.unwrap_err();
    assert!(matches!(agent_error(&refused), Some(AtError::Refused(_))), "{refused}");
    let wishes = bank.db.begin_with_config(Some(IsolationLevel::Serializable), None).await;
    assert!(wishes.unwrap_err().to_string().contains("isolation level"));
    bank.close().await;
}

mod on_postgres {
    use super::*;

    #[tokio::test]
    async fn entities_are_saved_found_and_undone() {
        let table = "CREATE TABLE account (id SERIAL PRIMARY KEY, owner TEXT NOT NULL, \
                     balance BIGINT NOT NULL)";
        check::<sqlx::Postgres>(Kind::Postgres, table).await;
    }
}

mod on_mysql {
    use super::*;

    #[tokio::test]
    async fn entities_are_saved_found_and_undone() {
        let table = "CREATE TABLE account (id INT AUTO_INCREMENT PRIMARY KEY, \
                     owner VARCHAR(20) NOT NULL, balance BIGINT NOT NULL)";
        check::<sqlx::MySql>(Kind::Mysql, table).await;
    }
}
