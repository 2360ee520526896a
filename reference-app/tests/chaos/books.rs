//! Reads the databases of all services, and compares them with the orders that were placed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::{
    account::{Account, End, Purchase},
    support::Databases,
};

const ORDER: &str = "order_service";
const PAYMENT: &str = "payment_service";
const AD: &str = "ad_service";
const ANALYTICS: &str = "analytics_service";

/// The largest number of orders that [`Books::faults`] prints.
const PRINTED: usize = 5;

/// The orders, the stock and the figures in the databases of all services.
#[derive(Debug, Default)]
pub(crate) struct Books {
    accounts: BTreeMap<String, Account>,
    /// The id, the offered and the available pieces of each ad.
    ads: Vec<(String, i64, i64)>,
    /// The number of orders by status, in the figures.
    figures: BTreeMap<String, i64>,
    /// The net amount, the paid and the refunded orders, in the figures.
    revenue: Vec<(i64, i64, i64)>,
    /// Commands with an id that another message has.
    repeated_ids: usize,
    /// Timers of runs, and events that were not given to their run.
    waiting: usize,
    /// Messages and events that are parked or held.
    parked: usize,
}

impl Books {
    pub(crate) async fn read(databases: &Databases) -> sqlx::Result<Self> {
        let mut books = Self { parked: databases.parked().await?, ..Self::default() };
        books.read_orders(databases).await?;
        books.read_participants(databases).await?;
        let sql = "SELECT status, CAST(SUM(orders) AS BIGINT) FROM {s}.hours GROUP BY status";
        books.figures = databases.rows::<(String, i64)>(ANALYTICS, sql).await?.into_iter().collect();
        books.figures.retain(|_, orders| *orders != 0);
        let sql =
            "SELECT CAST(SUM(minor) AS BIGINT), CAST(SUM(paid) AS BIGINT), CAST(SUM(refunded) AS BIGINT)
             FROM {s}.revenue GROUP BY currency";
        books.revenue = databases.rows(ANALYTICS, sql).await?;
        Ok(books)
    }

    async fn read_orders(&mut self, databases: &Databases) -> sqlx::Result<()> {
        let sql = "SELECT key, CAST(version AS BIGINT), type FROM {s}.comms_event WHERE topic = 'order'
             ORDER BY version";
        for (key, version, name) in databases.rows::<(Vec<u8>, i64, String)>(ORDER, sql).await? {
            self.account(text(key)).events.push((version, short(&name)));
        }
        let sql = "SELECT topic, key, type, msg_id, payload FROM {s}.comms_outbox ORDER BY id";
        type Row = (String, Vec<u8>, String, String, Vec<u8>);
        let mut ids = HashMap::new();
        for (topic, key, name, id, payload) in databases.rows::<Row>(ORDER, sql).await? {
            let order = text(key);
            *ids.entry(id).or_insert(0) += 1;
            match topic.as_str() {
                "order.commands" => self.account(order).commands.push(short(&name)),
                "order.status.changed" => {
                    let event: Value = serde_json::from_slice(&payload).unwrap();
                    let status = event["status"].as_str().unwrap_or_default().to_owned();
                    let sequence = event["sequence"].as_i64().unwrap_or_default();
                    self.account(order).statuses.push((sequence, status));
                }
                _ => {}
            }
        }
        self.repeated_ids = ids.values().filter(|count| **count > 1).count();
        for (order, sequence, status) in databases
            .rows::<(String, i64, String)>(ORDER, "SELECT order_id, sequence, status FROM {s}.orders")
            .await?
        {
            self.account(order).listed.push((sequence, status));
        }
        let sql = "SELECT id, saga, phase, state FROM {s}.comms_saga";
        for (order, saga, phase, state) in
            databases.rows::<(String, String, String, String)>(ORDER, sql).await?
        {
            self.account(order).runs.push((saga, phase, state));
        }
        for (order, status) in
            databases.rows::<(String, String)>(ORDER, "SELECT order_id, status FROM {s}.shipments").await?
        {
            self.account(order).shipments.push(status);
        }
        for sql in ["SELECT COUNT(*) FROM {s}.comms_saga_timer", "SELECT COUNT(*) FROM {s}.comms_saga_early"]
        {
            self.waiting += databases.number(ORDER, sql).await?;
        }
        Ok(())
    }

    async fn read_participants(&mut self, databases: &Databases) -> sqlx::Result<()> {
        type Named = (String, String, i64);
        let sql = "SELECT order_id, status, amount_minor FROM {s}.payments";
        for (order, status, amount) in databases.rows::<Named>(PAYMENT, sql).await? {
            self.account(order).payments.push((status, amount));
        }
        let sql = "SELECT order_id, amount_minor FROM {s}.charges";
        for (order, amount) in databases.rows::<(String, i64)>(PAYMENT, sql).await? {
            self.account(order).charges.push(amount);
        }
        let sql = "SELECT order_id, amount_minor FROM {s}.refunds";
        for (order, amount) in databases.rows::<(String, i64)>(PAYMENT, sql).await? {
            self.account(order).refunds.push(amount);
        }
        let sql = "SELECT order_id, status, quantity FROM {s}.reservations";
        for (order, status, quantity) in databases.rows::<Named>(AD, sql).await? {
            self.account(order).reservations.push((status, quantity));
        }
        self.ads = databases.rows(AD, "SELECT ad_id, stock, available FROM {s}.ads").await?;
        // The ids of notifications sort by time.
        let sql = "SELECT order_id, status, sequence FROM {s}.notifications ORDER BY notification_id";
        for (order, status, sequence) in databases.rows::<Named>("notification_service", sql).await? {
            self.account(order).notifications.push((sequence, status));
        }
        let sql = "SELECT order_id, status, payment FROM {s}.orders";
        for (order, status, payment) in databases.rows::<(String, String, String)>(ANALYTICS, sql).await? {
            self.account(order).figures.push((status, payment));
        }
        Ok(())
    }

    fn account(&mut self, order: String) -> &mut Account {
        self.accounts.entry(order).or_default()
    }

    /// Returns the names of the sagas that the orders have.
    pub(crate) fn sagas(&self) -> BTreeSet<&str> {
        self.accounts.values().map(Account::saga).collect()
    }

    /// Returns the number of orders by the status in their buyers' lists.
    pub(crate) fn statuses(&self) -> BTreeMap<String, i64> {
        let mut statuses = BTreeMap::new();
        for account in self.accounts.values() {
            *statuses.entry(account.status().to_owned()).or_insert(0) += 1;
        }
        statuses
    }

    /// Returns every difference between the books and `placed`, the purchases by order id. `scarce` is the id of the ad
    /// with fewer pieces than orders.
    pub(crate) fn faults(&self, placed: &HashMap<String, Purchase>, scarce: &str) -> Vec<String> {
        let mut faults: Vec<String> = self.wrong_accounts(placed);
        let unknown = self.accounts.keys().filter(|order| !placed.contains_key(*order));
        faults.extend(unknown.map(|order| format!("nobody placed the order {order}")));
        let accounts = || self.accounts.iter().filter_map(|(id, account)| Some((placed.get(id)?, account)));
        for (ad_id, stock, available) in &self.ads {
            let of_ad = accounts().filter(|(purchase, _)| purchase.ad_id == *ad_id);
            let delivered = of_ad.filter(|(_, account)| account.status() == "DELIVERED");
            let sold: i64 = delivered.map(|(purchase, _)| purchase.quantity).sum();
            if available + sold != *stock || (ad_id == scarce && sold != *stock) {
                faults.push(format!("{ad_id}: {available} of {stock} pieces are left, {sold} delivered"));
            }
        }
        let statuses = self.statuses();
        if self.figures != statuses {
            faults.push(format!("the figures are {:?}, and the orders {statuses:?}", self.figures));
        }
        let charged: i64 = self.accounts.values().flat_map(|account| &account.charges).sum();
        let refunded: i64 = self.accounts.values().flat_map(|account| &account.refunds).sum();
        let count = |of: fn(&Account) -> usize| self.accounts.values().map(of).sum::<usize>() as i64;
        let money = (charged - refunded, count(|a| a.charges.len()), count(|a| a.refunds.len()));
        if self.revenue != [money] {
            faults.push(format!("the revenue is {:?}, and the money {money:?}", self.revenue));
        }
        let numbers = [
            (self.repeated_ids, "ids of messages are repeated"),
            (self.waiting, "timers and early events are left"),
            (self.parked, "messages and events are parked"),
        ];
        let left = numbers.into_iter().filter(|(number, _)| *number > 0);
        faults.extend(left.map(|(number, what)| format!("{number} {what}")));
        faults
    }

    fn wrong_accounts(&self, placed: &HashMap<String, Purchase>) -> Vec<String> {
        let nothing = Account::default();
        let mut wrong = 0;
        let mut faults = Vec::new();
        for (order, purchase) in placed {
            let account = self.accounts.get(order).unwrap_or(&nothing);
            let either = if account.status() == "DELIVERED" { End::Delivered } else { End::OutOfStock };
            let expected = Account::of(purchase, purchase.end.unwrap_or(either), account.saga());
            if *account != expected {
                wrong += 1;
                if wrong <= PRINTED {
                    faults.push(format!("{order}, {purchase:?}:\n  is {account:?}\n  must be {expected:?}"));
                }
            }
        }
        if wrong > PRINTED {
            faults.push(format!("{wrong} orders are wrong"));
        }
        faults
    }
}

fn text(key: Vec<u8>) -> String {
    String::from_utf8(key).unwrap()
}

/// Removes the parts that the names of all events of an order have.
fn short(name: &str) -> String {
    name.trim_start_matches("order.").trim_end_matches(".v1").to_owned()
}
