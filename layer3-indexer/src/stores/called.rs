//! What the user calls the conversations: of both stores together, so that a copy that is damaged, or a store that is
//! away, costs nothing of it.

use std::collections::HashMap;

use layer1_prebackup::archive::{Archive, Labels};
use layer1_prebackup::names::SessionId;
use rmcp::schemars::JsonSchema;
use serde::Serialize;

use crate::stores::both::Stores;
use crate::transcript::metadata::Metadata;

/// What each conversation is called, by its id.
#[derive(Debug, Default)]
pub(crate) struct Called(HashMap<String, Labels>);

impl Called {
    /// Of all conversations. What cannot be read of one store the other one has; `verify` tells of it.
    pub(crate) fn of(stores: &Stores) -> Called {
        let mut called: HashMap<String, Labels> = HashMap::new();
        for archive in both(stores) {
            for (id, labels) in archive.all_labels().unwrap_or_default() {
                let Ok(labels) = labels else { continue };
                let known = called.entry(id.to_string()).or_insert_with(|| Labels::none(&id));
                known.merge(&labels);
            }
        }
        Called(called)
    }

    /// What one is called.
    pub(crate) fn get(&self, id: &str) -> Option<&Labels> {
        self.0.get(id)
    }

    /// All that are called anything.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Labels)> {
        self.0.iter().map(|(id, labels)| (id.as_str(), labels))
    }

    /// Whether a conversation has all of these tags, and is pinned if that is asked for.
    pub(crate) fn is(&self, id: &str, tags: &[String], pinned: bool) -> bool {
        let has = |labels: &Labels, tag: &String| labels.tags().any(|own| own.to_lowercase() == tag.to_lowercase());
        match self.get(id) {
            Some(labels) => tags.iter().all(|tag| has(labels, tag)) && (!pinned || labels.is_pinned()),
            None => tags.is_empty() && !pinned,
        }
    }
}

/// What the user calls one conversation, as answers say it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct CalledAs {
    /// The name that the user gave it here, which stands as the title then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The user's tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    /// Whether the user pinned it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pinned: bool,
    /// The user's note about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

impl CalledAs {
    pub(crate) fn of(labels: &Labels) -> CalledAs {
        CalledAs {
            name: labels.name().map(str::to_owned),
            tags: labels.tags().map(str::to_owned).collect(),
            pinned: labels.is_pinned(),
            note: labels.note().map(str::to_owned),
        }
    }

    /// Pin and tags on a line; empty where there are none.
    pub(crate) fn tags(&self) -> String {
        let pinned = self.pinned.then(|| "pinned".to_owned());
        pinned.into_iter().chain(self.tags.iter().map(|tag| format!("#{tag}"))).collect::<Vec<_>>().join(" ")
    }
}

/// What one conversation is called.
pub(crate) fn labels_of(stores: &Stores, id: &SessionId) -> Labels {
    let mut labels = Labels::none(id);
    for archive in both(stores) {
        if let Ok(Some(own)) = archive.labels(id) {
            labels.merge(&own);
        }
    }
    labels
}

/// Says in a session's metadata what the user calls it: the user's name stands before every other title.
pub(crate) fn describe(metadata: &mut Metadata, labels: &Labels) {
    metadata.name = labels.name().map(str::to_owned);
    metadata.title = metadata.name.clone().or_else(|| metadata.title.take());
    metadata.tags = labels.tags().map(str::to_owned).collect();
    metadata.pinned = labels.is_pinned();
    metadata.note = labels.note().map(str::to_owned);
}

fn both(stores: &Stores) -> impl Iterator<Item = &Archive> {
    stores.layer3.iter().chain(&stores.layer1)
}
