//! The registry of a program's functions.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::registered::Registered;
use crate::serve;
use crate::worker::{Start, untyped};

/// The functions of a program, which is driver and worker at once.
///
/// `main` adds its functions and calls [`serve_if_worker`](Self::serve_if_worker). In a process that a platform has
/// started, that call serves the function which the platform named, and never returns. In the driver it does nothing.
///
/// - Arguments and results are JSON objects, by serde. A result must not have the key `error` at its top, by which
///   functions in other languages say that they failed.
/// - An error is anything that is [`Display`]; `{:#}` is its text, so that `anyhow` brings its causes. A panic is a
///   failure with its place, and with its backtrace where `RUST_BACKTRACE` is set; the process goes on.
/// - What a function prints is its log.
/// - A closure may capture what `main` evaluates. A worker runs `main` up to `serve_if_worker` as well: keep that part
///   cheap, and read no command line in it.
///
/// # Examples
///
/// ```
/// use falco_function::Functions;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Text { text: String }
///
/// #[derive(Serialize, Deserialize)]
/// struct Length { length: usize }
///
/// fn length(argument: Text) -> Result<Length, String> {
///     Ok(Length { length: argument.text.len() })
/// }
///
/// let mut functions = Functions::new();
/// let length = functions.add("length", length);
/// functions.serve_if_worker();
/// // The driver goes on here, and makes stages of `length`.
/// # assert_eq!(length.name(), "length");
/// ```
#[derive(Clone, Default)]
pub struct Functions {
    starts: BTreeMap<String, Start>,
}

impl Functions {
    /// A registry without functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function without state.
    ///
    /// # Panics
    ///
    /// When there is a function of that name already.
    pub fn add<A, R, E, F>(&mut self, name: &str, function: F) -> Registered<A, R>
    where
        A: DeserializeOwned,
        R: Serialize,
        E: Display,
        F: Fn(A) -> Result<R, E> + Send + Sync + 'static,
    {
        let function = Arc::new(function);
        self.insert(name, move || {
            let function = Arc::clone(&function);
            Ok(untyped(move |argument| function(argument).map_err(|e| Failure::of_error(&e))))
        })
    }

    /// Adds a function with a state that lives as long as its worker, such as a model or a connection.
    ///
    /// `init` makes the state once in each worker, before the first call, and its time counts as start. A worker runs
    /// one call at a time. The state is made anew after a panic, which may have left it half-changed.
    ///
    /// # Panics
    ///
    /// When there is a function of that name already.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_function::Functions;
    /// use serde::{Deserialize, Serialize};
    /// use std::collections::HashSet;
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Word { word: String }
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Known { known: bool }
    ///
    /// let mut functions = Functions::new();
    /// functions.add_with(
    ///     "known",
    ///     || std::fs::read_to_string("/usr/share/dict/words").map(|text| text.lines().map(str::to_owned).collect()),
    ///     |words: &mut HashSet<String>, Word { word }| Ok(Known { known: words.contains(&word) }),
    /// );
    /// ```
    pub fn add_with<S, A, R, E, I, F>(
        &mut self,
        name: &str,
        init: I,
        function: F,
    ) -> Registered<A, R>
    where
        S: 'static,
        A: DeserializeOwned,
        R: Serialize,
        E: Display,
        I: Fn() -> Result<S, E> + Send + Sync + 'static,
        F: Fn(&mut S, A) -> Result<R, E> + Send + Sync + 'static,
    {
        let function = Arc::new(function);
        self.insert(name, move || {
            let mut state = init().map_err(|error| Failure::of_error(&error))?;
            let function = Arc::clone(&function);
            Ok(untyped(move |argument| {
                function(&mut state, argument).map_err(|error| Failure::of_error(&error))
            }))
        })
    }

    /// Adds an `async` function. Each worker runs it on a single-threaded tokio runtime of its own.
    ///
    /// # Panics
    ///
    /// When there is a function of that name already.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_function::Functions;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Pause { milliseconds: u64 }
    ///
    /// let mut functions = Functions::new();
    /// functions.add_async("pause", async |pause: Pause| {
    ///     tokio::time::sleep(std::time::Duration::from_millis(pause.milliseconds)).await;
    ///     Ok::<_, String>(pause)
    /// });
    /// ```
    #[cfg(feature = "async")]
    pub fn add_async<A, R, E, F>(&mut self, name: &str, function: F) -> Registered<A, R>
    where
        A: DeserializeOwned,
        R: Serialize,
        E: Display,
        F: AsyncFn(A) -> Result<R, E> + Send + Sync + 'static,
    {
        let function = Arc::new(function);
        self.insert(name, move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| Failure::of_error(&error))?;
            let function = Arc::clone(&function);
            Ok(untyped(move |argument| {
                runtime.block_on(function(argument)).map_err(|error| Failure::of_error(&error))
            }))
        })
    }

    /// Serves the function that the platform named, if this process is a worker; else it returns at once.
    ///
    /// A process is a worker if the variable [`FUNCTION`](crate::FUNCTION) is set. It speaks Lambda's Runtime API where
    /// `AWS_LAMBDA_RUNTIME_API` is set, else OpenWhisk's ActionLoop on standard input and descriptor 3. With neither,
    /// as when the variable was exported by mistake, the program says so and ends with status 64: it never goes on as a
    /// driver. May be called inside `#[tokio::main]`.
    pub fn serve_if_worker(&self) {
        if let Some(name) = std::env::var_os(crate::FUNCTION) {
            let name = name.to_string_lossy();
            serve::run(self.start_of(&name), &name);
        }
    }

    /// How to start the function of this name.
    ///
    /// # Errors
    ///
    /// A failed initialization that lists the names that are there.
    pub(crate) fn start_of(&self, name: &str) -> Result<Start, Failure> {
        self.starts.get(name).cloned().ok_or_else(|| {
            let names: Vec<_> = self.starts.keys().map(|name| format!("{name:?}")).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Failure::initialization(format!("no function {name:?} in this program; it has {there}"))
        })
    }

    fn insert<A, R>(
        &mut self,
        name: &str,
        start: impl Fn() -> Result<crate::worker::Call, Failure> + Send + Sync + 'static,
    ) -> Registered<A, R> {
        let before = self.starts.insert(name.to_owned(), Arc::new(start));
        assert!(
            before.is_none(),
            "a function {name:?} was added already; give each a name of its own"
        );
        Registered::new(name)
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.starts.keys()).finish()
    }
}
