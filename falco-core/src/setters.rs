//! Setters of the structs that platforms, layers and users build.

/// A chaining setter for each field. A field that is an `Option` takes a value or an `Option`. For Falco's own crates.
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    () => {};
    ($(#[$doc:meta])* $setter:ident($field:ident: Option<$type:ty>); $($rest:tt)*) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, $field: impl Into<Option<$type>>) -> Self {
            self.$field = $field.into();
            self
        }

        $crate::setters! { $($rest)* }
    };
    ($(#[$doc:meta])* $setter:ident($field:ident: $type:ty); $($rest:tt)*) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, $field: $type) -> Self {
            self.$field = $field;
            self
        }

        $crate::setters! { $($rest)* }
    };
}
