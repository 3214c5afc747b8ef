use prejoin_wire::selector::{self, Transport};

use crate::yaml::Located;
use prejoin_wire::size::Size;

/// What a disk must be like to be chosen. Everything that is given must hold, and exactly one disk may match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskSelector {
    /// Serial number as the drive reports it, without surrounding spaces.
    pub serial: Option<Located<String>>,
    /// World-wide identifier (`eui.…`, `nvme.…`, `naa.…`, `t10.…`), as in `/sys/block/*/wwid`.
    pub wwid: Option<Located<String>>,
    /// Model, with `*` for any text.
    pub model: Option<Located<String>>,
    /// How it is attached.
    pub transport: Option<Transport>,
    /// Smallest size allowed.
    pub min_size: Option<Located<Size>>,
    /// Largest size allowed.
    pub max_size: Option<Located<Size>>,
    /// Spinning disk or not.
    pub rotational: Option<bool>,
}

impl DiskSelector {
    /// What is asked for, without where it was asked.
    pub fn wanted(&self) -> selector::DiskSelector {
        let value = |text: &Option<Located<String>>| text.as_ref().map(|text| text.value.clone());
        let size = |size: &Option<Located<Size>>| size.as_ref().map(|size| size.value);
        selector::DiskSelector {
            serial: value(&self.serial),
            wwid: value(&self.wwid),
            model: value(&self.model),
            transport: self.transport,
            min_size: size(&self.min_size),
            max_size: size(&self.max_size),
            rotational: self.rotational,
        }
    }

    /// Whether every disk fits.
    pub fn is_any(&self) -> bool {
        *self == DiskSelector::default()
    }

    /// Whether it names one disk in the world.
    pub fn is_unique(&self) -> bool {
        self.serial.is_some() || self.wwid.is_some()
    }

    /// Whether every disk that fits this fits the other, as far as the two can tell.
    pub fn implies(&self, other: &DiskSelector) -> bool {
        fn same<T: PartialEq>(own: &Option<T>, other: &Option<T>) -> bool {
            other.is_none() || own == other
        }
        let least =
            |size: &Option<Located<Size>>| size.as_ref().map_or(0, |size| size.value.bytes());
        let most = |size: &Option<Located<Size>>| {
            size.as_ref().map_or(u64::MAX, |size| size.value.bytes())
        };
        same(&self.serial, &other.serial)
            && same(&self.wwid, &other.wwid)
            && same(&self.model, &other.model)
            && same(&self.transport, &other.transport)
            && same(&self.rotational, &other.rotational)
            && least(&self.min_size) >= least(&other.min_size)
            && most(&self.max_size) <= most(&other.max_size)
    }

    /// Whether no disk can fit both.
    pub fn excludes(&self, other: &DiskSelector) -> bool {
        fn differ<T: PartialEq>(own: &Option<T>, other: &Option<T>) -> bool {
            own.is_some() && other.is_some() && own != other
        }
        let above = |least: &Option<Located<Size>>, most: &Option<Located<Size>>| {
            let both = least.as_ref().zip(most.as_ref());
            both.is_some_and(|(least, most)| least.value.bytes() > most.value.bytes())
        };
        let pattern = |model: &Option<Located<String>>| {
            model.as_ref().is_some_and(|model| model.contains('*'))
        };
        let models = !pattern(&self.model) && !pattern(&other.model);
        differ(&self.serial, &other.serial)
            || differ(&self.wwid, &other.wwid)
            || models && differ(&self.model, &other.model)
            || differ(&self.transport, &other.transport)
            || differ(&self.rotational, &other.rotational)
            || above(&self.min_size, &other.max_size)
            || above(&other.min_size, &self.max_size)
    }
}
