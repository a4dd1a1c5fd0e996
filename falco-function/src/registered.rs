//! The typed handle of a registered function.

use std::fmt;
use std::marker::PhantomData;

/// A function that was added to [`Functions`](crate::Functions): its name, and the types of its argument and result.
///
/// Stages are made from it, so that a function that was not registered cannot be used.
///
/// # Examples
///
/// ```
/// let mut functions = falco_function::Functions::new();
/// let double = functions.add("double", |numbers: Vec<u64>| Ok::<_, String>(numbers.len() * 2));
/// assert_eq!(double.name(), "double");
/// ```
///
/// A function that was not added has no handle, and the compiler refuses it:
///
/// ```compile_fail,E0308
/// fn double(number: u64) -> Result<u64, String> {
///     Ok(number * 2)
/// }
///
/// # fn main() -> falco_core::Result<()> {
/// let function = falco_function::Executable::current()?.function(&double)?;
/// # Ok(())
/// # }
/// ```
pub struct Registered<A, R> {
    name: String,
    types: PhantomData<fn(A) -> R>,
}

impl<A, R> Registered<A, R> {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), types: PhantomData }
    }

    /// The name under which the function was added.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<A, R> Clone for Registered<A, R> {
    fn clone(&self) -> Self {
        Self::new(&self.name)
    }
}

impl<A, R> fmt::Debug for Registered<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("name", &self.name)
            .field("argument", &std::any::type_name::<A>())
            .field("result", &std::any::type_name::<R>())
            .finish()
    }
}
