//! The name of a type in an error.

/// The name of `T` without paths and parameters, for people: `HashMap`, `u32`, `tuple`.
pub(crate) fn short<T: ?Sized>() -> &'static str {
    let name = std::any::type_name::<T>();
    match name.as_bytes().first() {
        Some(b'(') => "tuple",
        Some(b'[') => "array",
        _ => {
            let path = name.split('<').next().unwrap_or(name);
            path.rsplit("::").next().unwrap_or(path)
        }
    }
}
