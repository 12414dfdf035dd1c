//! The users as the gatekeeper sees them: an address is verified since `email_verified_at`, and un-verified by taking that away.

use async_trait::async_trait;
use reset_gatekeeper::account::{Account, AccountId, Directory, DirectoryError};
use reset_gatekeeper::{Identifier, Identifies, Reason};
use sea_orm::sea_query::{Expr, Func};
use sea_orm::{
    ColumnTrait, Condition, DatabaseConnection, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, TransactionTrait,
};

use super::_entities::users::{Column, Entity, Model};

pub struct Users {
    db: DatabaseConnection,
}

impl Users {
    #[must_use]
    pub fn new(db: DatabaseConnection) -> Self {
        Self { db }
    }
}

#[async_trait]
impl Directory for Users {
    async fn find(&self, identifier: &Identifier) -> Result<Vec<Account>, DirectoryError> {
        let names = identifier.spellings();
        let condition = match identifier.kind() {
            // As laxly as any other program might compare; the gatekeeper blocks what differs in more than case.
            Identifies::Email => {
                let names = names.iter().map(|name| name.to_lowercase());
                Condition::all().add(Expr::expr(Func::lower(Expr::col(Column::Email))).is_in(names))
            }
            Identifies::Token => Condition::any().add(Column::ResetToken.is_in(names.clone())).add(Column::MagicLinkToken.is_in(names)),
            kind => return Err(DirectoryError::Unsupported(kind)),
        };
        let users = Entity::find().filter(condition).all(&self.db).await.map_err(failed("finding accounts"))?;
        Ok(users.into_iter().map(account).collect())
    }

    async fn unverify(&self, account: &Account, _reason: Reason) -> Result<bool, DirectoryError> {
        let Some(id) = key(&account.id) else { return Ok(false) };
        let failed = || failed("un-verifying");
        let transaction = self.db.begin().await.map_err(failed())?;
        let stored = Entity::find_by_id(id).lock_exclusive().one(&transaction).await.map_err(failed())?;
        // The row may have changed since it was judged.
        let is_as_judged = account.verified && stored.is_some_and(|user| self::account(user) == *account);
        if is_as_judged {
            let unverified = Entity::update_many().col_expr(Column::EmailVerifiedAt, Expr::cust("NULL"));
            unverified.filter(Column::Id.eq(id)).exec(&transaction).await.map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())?;
        Ok(is_as_judged)
    }

    async fn page(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, DirectoryError> {
        let mut users = Entity::find().order_by_asc(Column::Id).limit(limit as u64);
        if let Some(after) = after {
            users = users.filter(Column::Id.gt(key(after).ok_or_else(|| DirectoryError::NoKey(after.clone()))?));
        }
        let users = users.all(&self.db).await.map_err(failed("listing accounts"))?;
        Ok(users.into_iter().map(account).collect())
    }
}

fn account(user: Model) -> Account {
    Account {
        id: user.id.to_string().into(),
        email: user.email,
        verified: user.email_verified_at.is_some(),
        verified_at: user.email_verified_at.map(Into::into),
    }
}

fn key(id: &AccountId) -> Option<i64> {
    id.as_str().parse().ok()
}

fn failed(operation: &'static str) -> impl Fn(DbErr) -> DirectoryError {
    move |error| DirectoryError::unavailable(operation, error)
}
