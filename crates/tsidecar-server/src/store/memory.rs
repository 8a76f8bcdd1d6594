//! A store in memory, for tests and fuzzing: the same verbs, ledger and records, settled at once by whoever calls.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::ledger::{ChangeError, Entry, Ledger, Records, Table};
use super::verbs::Engine;
use super::{Intent, Pending, StoreError};

/// A store that forgets everything when it is dropped. Its answers are ready when a verb returns.
pub struct MemoryStore {
    records: Arc<MemoryRecords>,
    ledger: Mutex<Option<Ledger>>,
    news: Arc<Notify>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        let records = Arc::new(MemoryRecords::default());
        let ledger = Ledger::open(Arc::clone(&records) as Arc<dyn Records>).ok();
        let news = ledger.as_ref().map(|ledger| ledger.jobs.news()).unwrap_or_default();
        Self { records, ledger: Mutex::new(ledger), news }
    }

    /// The bytes, for tests that damage them.
    #[cfg(test)]
    pub(super) fn shared(&self) -> Arc<dyn Records> {
        Arc::clone(&self.records) as Arc<dyn Records>
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine for MemoryStore {
    fn records(&self) -> &dyn Records {
        &*self.records
    }

    fn submit<T, F>(&self, change: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Ledger) -> Result<T, ChangeError> + Send + 'static,
    {
        let mut ledger = held(&self.ledger);
        let Some(ledger) = ledger.as_mut() else { return Pending::ready(Err(StoreError::Closed)) };
        ledger.begin();
        let outcome = change(ledger).and_then(|outcome| {
            ledger.finish().map_err(ChangeError::Fatal)?;
            Ok(outcome)
        });
        Pending::ready(outcome.map_err(|error| match error {
            ChangeError::Refused(error) => error,
            ChangeError::Fatal(error) => StoreError::Io(error),
        }))
    }

    fn intent(&self) -> Intent {
        Intent::uncounted()
    }

    fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    fn close(&self) {
        *held(&self.ledger) = None;
    }
}

type Key = (Table, Vec<u8>);

/// A map behind a lock.
#[derive(Default)]
pub(super) struct MemoryRecords(Mutex<BTreeMap<Key, Vec<u8>>>);

impl Records for MemoryRecords {
    fn read(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(held(&self.0).get(&(table, key.to_vec())).cloned())
    }

    fn read_after(&self, table: Table, after: Option<&[u8]>, limit: usize) -> io::Result<Vec<Entry>> {
        let start = match after {
            Some(key) => Bound::Excluded((table, key.to_vec())),
            None => Bound::Included((table, Vec::new())),
        };
        let map = held(&self.0);
        let entries =
            map.range((start, Bound::Unbounded)).take_while(|((of, _), _)| *of == table).take(limit);
        Ok(entries.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn insert(&self, table: Table, key: &[u8], value: Vec<u8>) -> io::Result<()> {
        held(&self.0).insert((table, key.to_vec()), value);
        Ok(())
    }

    fn remove(&self, table: Table, key: &[u8]) -> io::Result<()> {
        held(&self.0).remove(&(table, key.to_vec()));
        Ok(())
    }

    fn flush_and_sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn witness(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// No invariant spans two locked sections here, so a poisoned lock still guards a sound value.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
