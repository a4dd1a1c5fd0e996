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

/// The setters that a stage has by whatever name it is described. For Falco's own crates.
#[doc(hidden)]
#[macro_export]
macro_rules! stage_setters {
    () => {
        /// Says that running one of its invocations twice does no harm.
        #[must_use]
        pub fn idempotent(mut self) -> Self {
            self.idempotent = true;
            self
        }

        /// Sends several inputs in each call of the platform: a call costs milliseconds and money, and an input may take
        /// microseconds. It needs a platform whose functions run under Falco's shim: `Capabilities::shim`.
        #[must_use]
        pub fn with_batch(mut self, batch: $crate::Batch) -> Self {
            self.policy.batch = Some(batch);
            self
        }

        $crate::setters! {
            /// Limits how long a stage may take, from its first invocation.
            with_deadline(deadline: Option<::std::time::Duration>);
            /// Sets how its invocations are driven, where that differs from the rest of the run.
            with_policy(policy: $crate::StagePolicy);
        }
    };
}
