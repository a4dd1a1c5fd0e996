//! Tables with DuckDB's answers, which tests that run at the same time share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};

use falco_data::Store;
use falco_fakes::FakeS3;
use falco_testkit::runtimes;
use falco_tpch::{Answer, DuckDbAnswer, Format, Query, ask_duckdb, ensure_data};
use tokio::sync::Mutex;

/// Tables of scale 0.01 as Parquet. The last test that holds them removes them.
pub(crate) struct Tables {
    folder: tempfile::TempDir,
    /// The environment with DuckDB.
    duckdb: PathBuf,
    /// The answers to all queries, in the order of [`Query::ALL`].
    answers: Vec<DuckDbAnswer>,
}

impl Tables {
    /// The tables, which the first test makes; none where DuckDB is not installed.
    pub(crate) async fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Tables>> = Mutex::const_new(Weak::new());
        let duckdb = runtimes::find("duckdb")?;
        let mut shared = SHARED.lock().await;
        if let Some(tables) = shared.upgrade() {
            return Some(tables);
        }
        let folder = tempfile::tempdir().unwrap();
        let store = Store::folder(folder.path()).unwrap();
        ensure_data(&store, 0.01, Format::Parquet).await.unwrap();
        let python = duckdb.join("bin/python3");
        let answers = ask_duckdb(&python, folder.path(), &Query::ALL, 1).unwrap();
        let tables = Arc::new(Self { folder, duckdb, answers });
        *shared = Arc::downgrade(&tables);
        Some(tables)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// DuckDB's answer.
    pub(crate) fn answer(&self, query: Query) -> &Answer {
        let at = Query::ALL.iter().position(|one| *one == query).unwrap();
        &self.answers[at].answer
    }

    /// Every answer is that of DuckDB, and none is empty.
    #[track_caller]
    pub(crate) fn assert_same(&self, queries: &[Query], found: &[Answer], place: &str) {
        assert_eq!(found.len(), queries.len(), "{place}");
        for (query, found) in queries.iter().zip(found) {
            assert!(!found.rows.is_empty(), "{query} {place}");
            let difference = found.difference(self.answer(*query));
            assert_eq!(difference, None, "{query} {place} and in DuckDB");
        }
    }

    /// Puts the tables into the bucket, below `tpch`.
    pub(crate) fn put_into(&self, s3: &FakeS3) {
        for entry in self.folder().read_dir().unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_file() {
                // The mark that all tables are there.
                s3.put(&format!("tpch/{name}"), std::fs::read(&path).unwrap());
            } else if !name.starts_with('_') {
                for file in path.read_dir().unwrap() {
                    let file = file.unwrap().path();
                    let key = file.strip_prefix(self.folder()).unwrap().to_str().unwrap();
                    s3.put(&format!("tpch/{key}"), std::fs::read(&file).unwrap());
                }
            }
        }
    }

    /// The packages of the environment with DuckDB, as a variable for functions in Python.
    pub(crate) fn packages(&self) -> String {
        let mut versions = self.duckdb.join("lib").read_dir().unwrap();
        let packages = versions.next().unwrap().unwrap().path().join("site-packages");
        format!("PYTHONPATH={}", packages.display())
    }

    /// The runtime of the environment, such as `python:3.11`: wheels are built for one version.
    pub(crate) fn runtime(&self) -> String {
        let ask = "import sys; print('python:%d.%d' % sys.version_info[:2])";
        let output = Command::new(self.duckdb.join("bin/python3")).args(["-c", ask]).output();
        String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
    }

    /// Lets a command with `--requirements` install DuckDB from the wheel that was installed with the runtime, and from no
    /// registry. Tests that share the tables install it once.
    pub(crate) fn offer_wheel(&self, command: &mut Command) {
        command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", self.duckdb.join("wheels"));
        command.env("XDG_CACHE_HOME", self.folder().join("_cache"));
    }
}
