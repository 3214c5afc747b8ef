//! The user's cloud-config laid over the generated one.
//!
//! One rule for all of it: mappings are merged key by key, lists are appended, and of single values the more specific
//! one wins, where the cluster's goes over the generated one and the node's over the cluster's. cloud-init's own
//! `merge_how` is not involved: the node gets one document.

use prejoin_profiles::cluster::PROTECTED_KEYS;
use prejoin_profiles::yaml::Position;
use serde_json::{Map, Value};

use crate::{Error, Scope};

/// One part of the user's cloud-config and where it stands.
pub(crate) struct Part<'a> {
    pub(crate) scope: Scope,
    pub(crate) position: Position,
    pub(crate) document: &'a Value,
}

/// Lays `part` over `base`.
pub(crate) fn merge(base: &mut Map<String, Value>, part: &Part<'_>) -> Result<(), Error> {
    let Value::Object(document) = part.document else {
        return Err(part.shape("", "mapping", part.document));
    };
    for (key, source_of_truth) in PROTECTED_KEYS {
        if document.contains_key(*key) {
            let (scope, position) = (part.scope.clone(), part.position);
            return Err(Error::Protected {
                scope,
                key: (*key).to_owned(),
                source_of_truth,
                position,
            });
        }
    }
    part.users(base, document)?;
    part.mapping(base, document, "")
}

impl Part<'_> {
    fn mapping(
        &self,
        base: &mut Map<String, Value>,
        over: &Map<String, Value>,
        at: &str,
    ) -> Result<(), Error> {
        for (key, value) in over {
            let path = if at.is_empty() {
                key.clone()
            } else {
                format!("{at}.{key}")
            };
            match base.get_mut(key) {
                Some(below) => self.value(below, value, &path)?,
                None => {
                    base.insert(key.clone(), value.clone());
                }
            }
        }
        Ok(())
    }

    fn value(&self, below: &mut Value, over: &Value, at: &str) -> Result<(), Error> {
        match (below, over) {
            (Value::Object(below), Value::Object(over)) => self.mapping(below, over, at),
            (Value::Array(below), Value::Array(over)) => {
                below.extend(over.iter().cloned());
                Ok(())
            }
            (Value::Object(_), other) => Err(self.shape(at, "mapping", other)),
            (Value::Array(_), other) => Err(self.shape(at, "list", other)),
            (_, Value::Object(_) | Value::Array(_)) => Err(self.shape(at, "single value", over)),
            (below, over) => {
                *below = over.clone();
                Ok(())
            }
        }
    }

    /// cloud-init would work through both entries, the second without effect where the user exists already.
    fn users(&self, base: &Map<String, Value>, over: &Map<String, Value>) -> Result<(), Error> {
        let names = |document: &Map<String, Value>| -> Vec<String> {
            let list = document
                .get("users")
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            list.iter()
                .filter_map(|user| Some(user.get("name")?.as_str()?.to_owned()))
                .collect()
        };
        let known = names(base);
        match names(over).into_iter().find(|name| known.contains(name)) {
            Some(name) => Err(Error::User {
                scope: self.scope.clone(),
                name,
                position: self.position,
            }),
            None => Ok(()),
        }
    }

    fn shape(&self, key: &str, expected: &'static str, found: &Value) -> Error {
        let found = match found {
            Value::Object(_) => "mapping",
            Value::Array(_) => "list",
            _ => "single value",
        };
        Error::Shape {
            scope: self.scope.clone(),
            key: key.to_owned(),
            expected,
            found,
            position: self.position,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(base: Value, over: Value) -> Result<Value, Error> {
        let Value::Object(mut base) = base else {
            panic!("a mapping")
        };
        merge(
            &mut base,
            &Part {
                scope: Scope::Cluster,
                position: Position::default(),
                document: &over,
            },
        )?;
        Ok(Value::Object(base))
    }

    #[test]
    fn mappings_merge_lists_append_and_single_values_are_replaced() {
        let base = json!({ "a": { "x": 1, "y": [1] }, "b": "old", "c": null });
        let over = json!({ "a": { "y": [2, 1], "z": {} }, "b": true, "c": 3, "d": [] });
        let result =
            json!({ "a": { "x": 1, "y": [1, 2, 1], "z": {} }, "b": true, "c": 3, "d": [] });
        assert_eq!(merged(base, over), Ok(result));
    }

    #[test]
    fn contradictions_are_named() {
        let error = merged(
            json!({ "ntp": { "servers": [] } }),
            json!({ "ntp": { "servers": "a" } }),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the cluster's `cloud_init` has a single value under `ntp.servers`, where there is a list already"
        );
        assert!(merged(json!({ "a": 1 }), json!({ "a": [] })).is_err());
        assert!(merged(json!({ "a": {} }), json!({ "a": null })).is_err());
        assert!(merged(json!({}), json!([])).is_err());
        let twice = json!({ "users": [{ "name": "ann" }] });
        assert!(
            matches!(merged(twice.clone(), twice), Err(Error::User { name, .. }) if name == "ann")
        );
        let beside = merged(
            json!({ "users": [] }),
            json!({ "users": ["default", { "name": "bob" }] }),
        );
        assert_eq!(
            beside,
            Ok(json!({ "users": ["default", { "name": "bob" }] }))
        );
    }

    #[test]
    fn what_is_generated_is_protected() {
        for (key, _) in PROTECTED_KEYS {
            let error = merged(json!({}), json!({ *key: "mine" })).unwrap_err();
            assert!(
                matches!(&error, Error::Protected { key: found, .. } if found == key),
                "{error}"
            );
            assert!(error.hint().is_some_and(|hint| hint.contains(key)));
        }
    }
}
