//! How a command ends when it fails: one message with its causes, one hint, one exit code per class.

use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;

use prejoin_image_builder::class::Class;

use crate::terminal::{self, Form};

/// A failure on its way to the user.
#[derive(Debug)]
pub(crate) struct Failure {
    class: Option<Class>,
    /// An exit code that no class has.
    exit: Option<u8>,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure of a class, with the whole chain of causes.
    pub(crate) fn new(class: Class, error: &dyn Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Transparent wrappers repeat their source.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        Failure {
            class: Some(class),
            exit: None,
            message,
            hint: None,
        }
    }

    /// A failure that has nothing behind it.
    pub(crate) fn plain(class: Class, message: impl Into<String>) -> Self {
        Failure {
            class: Some(class),
            exit: None,
            message: message.into(),
            hint: None,
        }
    }

    /// The cluster file has findings, which were printed already.
    pub(crate) fn findings(message: impl Into<String>) -> Self {
        Failure {
            class: None,
            exit: None,
            message: message.into(),
            hint: None,
        }
    }

    /// An end that nobody needs to be told of.
    pub(crate) fn silent(code: u8) -> Self {
        Failure {
            class: None,
            exit: Some(code),
            message: String::new(),
            hint: None,
        }
    }

    /// The same with an exit code of its own: those of `flash`.
    pub(crate) fn exit(self, code: u8) -> Self {
        Failure {
            exit: Some(code),
            ..self
        }
    }

    /// Says what it is about, in front of the message.
    pub(crate) fn of(self, what: impl Display) -> Self {
        Failure {
            message: format!("{what}: {}", self.message),
            ..self
        }
    }

    /// What the user can do.
    pub(crate) fn hint(self, hint: impl Into<Option<String>>) -> Self {
        Failure {
            hint: hint.into().or(self.hint),
            ..self
        }
    }

    /// Says it on stderr.
    pub(crate) fn print(&self) {
        if self.message.is_empty() {
            return;
        }
        terminal::talk(&format!("error: {}", self.message), Form::Plain);
        if let Some(hint) = &self.hint {
            terminal::talk(&format!("hint: {hint}"), Form::Plain);
        }
    }

    /// Its exit code, as documented in `--help`.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.number())
    }

    /// The same as a number.
    pub(crate) fn number(&self) -> u8 {
        self.exit.unwrap_or(match self.class {
            None => 1,
            Some(Class::Input) => 3,
            Some(Class::Network) => 4,
            Some(Class::Integrity) => 5,
            Some(Class::Environment) => 6,
        })
    }

    /// What it says, and what the user can do.
    pub(crate) fn words(&self) -> (&str, Option<&str>) {
        (&self.message, self.hint.as_deref())
    }
}

/// For errors whose class is known where they arise.
pub(crate) trait OrFail<T> {
    /// The value, or a failure of that class.
    fn or_fail(self, class: Class) -> Result<T, Failure>;
}

impl<T, E: Error> OrFail<T> for Result<T, E> {
    fn or_fail(self, class: Class) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(class, &error))
    }
}
