use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::yaml::{Located, Position};

/// Keys of cloud-config that only prejoin can say, and what it says them from.
pub const PROTECTED_KEYS: &[(&str, &str)] = &[
    ("hostname", "the node's `name`"),
    (
        "fqdn",
        "the node's `name` and the first of `network.search`",
    ),
    ("local-hostname", "the node's `name`"),
    (
        "prefer_fqdn_over_hostname",
        "the image: Kubernetes knows the node by its short name",
    ),
    ("preserve_hostname", "the image"),
    ("create_hostname_file", "the image"),
    (
        "manage_etc_hosts",
        "the cluster's nodes: add names with a file `/etc/hosts`",
    ),
    ("network", "`network` and the node's `address`"),
    ("instance-id", "the content of the seed"),
    ("instance_id", "the content of the seed"),
    (
        "datasource",
        "the image: the seed is on the node's own disk",
    ),
    (
        "datasource_list",
        "the image: the seed is on the node's own disk",
    ),
    (
        "manual_cache_clean",
        "the image: a new seed must take effect",
    ),
];

/// A cloud-config of the user's, and where each of its parts stands.
#[derive(Clone, Debug)]
pub struct CloudConfig {
    /// Where it begins.
    pub position: Position,
    /// What it says; always a mapping.
    pub value: Value,
    places: Places,
}

/// Where a value and what is in it stand.
#[derive(Clone, Debug)]
struct Places {
    /// Of its key, if it has one, else of the value.
    at: Position,
    /// The value itself.
    value: Position,
    inside: Inside,
}

#[derive(Clone, Debug)]
enum Inside {
    Nothing,
    Map(BTreeMap<String, Places>),
    List(Vec<Places>),
}

/// A step on the way to a part of a document.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// The value of a key.
    Key(&'a str),
    /// An item of a list.
    Item(usize),
}

impl CloudConfig {
    /// Where the key of a part stands, or the part itself if it is an item of a list. Of a part that is not there, the
    /// place of the last that is.
    pub fn place(&self, path: &[Step<'_>]) -> Position {
        self.part(path).at
    }

    /// Where the value of a part stands.
    pub fn value_place(&self, path: &[Step<'_>]) -> Position {
        self.part(path).value
    }

    fn part(&self, path: &[Step<'_>]) -> &Places {
        let mut places = &self.places;
        for step in path {
            let next = match (step, &places.inside) {
                (Step::Key(key), Inside::Map(map)) => map.get(*key),
                (Step::Item(index), Inside::List(list)) => list.get(*index),
                _ => None,
            };
            match next {
                Some(next) => places = next,
                None => break,
            }
        }
        places
    }
}

/// Compares as what it says.
impl PartialEq for CloudConfig {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// Any YAML, and where its parts stand.
#[derive(Debug)]
pub(super) struct Tree {
    value: Value,
    inside: Inside,
}

impl From<Located<Tree>> for CloudConfig {
    fn from(tree: Located<Tree>) -> Self {
        let position = tree.position;
        CloudConfig {
            position,
            value: tree.value.value,
            places: Places {
                at: position,
                value: position,
                inside: tree.value.inside,
            },
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

impl From<Value> for Tree {
    fn from(value: Value) -> Self {
        Tree {
            value,
            inside: Inside::Nothing,
        }
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Value::from(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Value::from(value).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Value::from(value).into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Value::from(value).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Value::from(value).into())
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Value::Null.into())
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Value::Null.into())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let (mut values, mut places) = (Vec::new(), Vec::new());
        while let Some(item) = list.next_element::<Located<Tree>>()? {
            places.push(Places {
                at: item.position,
                value: item.position,
                inside: item.value.inside,
            });
            values.push(item.value.value);
        }
        Ok(Tree {
            value: values.into(),
            inside: Inside::List(places),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let (mut values, mut places) = (serde_json::Map::new(), BTreeMap::new());
        while let Some(key) = map.next_key::<Located<String>>()? {
            let item = map.next_value::<Located<Tree>>()?;
            let place = Places {
                at: key.position,
                value: item.position,
                inside: item.value.inside,
            };
            places.insert(key.value.clone(), place);
            values.insert(key.value, item.value.value);
        }
        Ok(Tree {
            value: values.into(),
            inside: Inside::Map(places),
        })
    }
}
