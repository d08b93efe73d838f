//! `countersign inventory`: what the hosts of one's own organisation say is on them.

mod reader;

use super::get::{Limit, listed, pages, raise, resolve_endpoint};
use crate::connection::{NodeError, only, parse_endpoint, parse_prefix};
use crate::failure::Failure;
use crate::options::Global;
use crate::tables::{facts, short, table};
use crate::time;
use crate::view::{HostView, ShownInventory};
use clap::{Args, Subcommand};
use ledger::id::Digest;
use ledger::inventory::{Change, Inventory, changes};
use ledger::key::PublicKey;
use proto::v1::ListInventoriesRequest;
use reader::Reader;
use serde::Serialize;
use std::collections::BTreeSet;
use terminal::{Answer, EXIT_DONE, EXIT_REFUSED, escape};

/// Hosts of one organisation that are looked at for an alarm: a node that never stops is left.
const HOSTS_MAX: usize = 1_000_000;
/// Lines of one change that history shows to people.
const LINES_MAX: usize = 5;

/// See what hosts of your organisation say is on them.
#[derive(Debug, Subcommand)]
pub enum InventoryCommand {
    /// Hosts, with what each is, how it does and when it was heard of last
    List(List),
    /// Hosts that somebody should see to: unhealthy, offline, or never heard of
    Alarm(Alarm),
    /// What is on a host, checked against what it signed
    Show(Show),
    /// When what is on a host became another thing
    History(History),
    /// What became another thing on a host
    Diff(Diff),
}

/// List hosts.
#[derive(Debug, Args)]
#[command(after_help = "\
Asks a node of your organisation, with a key of an operator or approver. When a host was heard of last is by its own \
signed word; the rest is the node's.

JSON: {\"hosts\": [{\"key\", \"name\", \"group\", \"organisation\", \"labels\", \"status\", \"health\", \"seen_ms\", \
\"received_ms\", \"since_ms\", \"inventory\", \"os_name\", \"kernel\", \"packages\", \"readings\"}], \"more\"}; what is not known is null

Example:
  countersign inventory list --key operator.key")]
pub struct List {
    #[command(flatten)]
    limit: Limit,
}

/// Show hosts that somebody should see to.
#[derive(Debug, Args)]
#[command(after_help = "\
Of all active hosts of your organisation that the node shows: those on which something installed does not work (its \
services, the checks of its manifest and of the house, asked by the agent between updates) or was recalled, those not heard \
of for twice as long as they said (some two and a half hours, unless inventory.every says otherwise), those never heard of, and those \
whose word the node cannot show. By the clock of whoever asks. Exit code 1 when there are any: for cron, and for what \
watches. A host that is to say nothing of itself (inventory.enabled = false) is left out with --but.

JSON: {\"looked_at\", \"hosts\": [as in list]}; \"health\" is \"unhealthy\", \"offline\", \"never-heard\" or \
\"unbelievable\", \"readings\".\"unhealthy\" is [{\"product\", \"channel\", \"since_ms\", \"why\"}]

Example:
  countersign inventory alarm --key operator.key || echo alarm")]
pub struct Alarm {
    /// A host that is not looked at: its name, its key, or the beginning of its key; may be repeated
    #[arg(long, value_name = "HOST", value_parser = parse_endpoint)]
    but: Vec<String>,
}

/// Show what is on a host.
#[derive(Debug, Args)]
#[command(after_help = "\
JSON: {\"endpoint\", \"inventory\", \"seen_ms\", \"received_ms\", \"readings\", \"content\": {\"system\", \"hardware\", \
\"packages\", \"services\", \"addresses\", \"left_out\", \"unread\"}}; with --at, seen_ms and readings are null

Example:
  countersign inventory show web-1 --key operator.key")]
pub struct Show {
    /// The host: its name, its key, or the beginning of its key
    #[arg(value_name = "HOST", value_parser = parse_endpoint)]
    host: String,
    /// An inventory it had before: its digest, or the beginning of it
    #[arg(long, value_name = "DIGEST", value_parser = parse_prefix)]
    at: Option<String>,
}

/// Show when what is on a host became another thing.
#[derive(Debug, Args)]
#[command(after_help = "\
JSON: {\"endpoint\", \"entries\": [{\"inventory\", \"since_ms\", \"changes\": [{\"what\", \"before\", \"after\"}]}], \
\"more\"}; changes are null where the one before is not kept any more

Example:
  countersign inventory history web-1 --key operator.key")]
pub struct History {
    /// The host: its name, its key, or the beginning of its key
    #[arg(value_name = "HOST", value_parser = parse_endpoint)]
    host: String,
    #[command(flatten)]
    limit: Limit,
}

/// Show what became another thing on a host.
#[derive(Debug, Args)]
#[command(after_help = "\
Without digests the newest inventory is compared with the one before it; with one, the newest with that.

JSON: {\"endpoint\", \"before\", \"after\", \"changes\": [{\"what\", \"before\", \"after\"}]}

Example:
  countersign inventory diff web-1 51c07a 9be2d4 --key operator.key")]
pub struct Diff {
    /// The host: its name, its key, or the beginning of its key
    #[arg(value_name = "HOST", value_parser = parse_endpoint)]
    host: String,
    /// The digest of an inventory, or the beginning of it
    #[arg(value_name = "A", value_parser = parse_prefix)]
    before: Option<String>,
    /// The digest of another one, or the beginning of it
    #[arg(value_name = "B", value_parser = parse_prefix)]
    after: Option<String>,
}

impl InventoryCommand {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let reader = Reader::open(global).await?;
        match self {
            Self::List(list) => list.run(&reader).await,
            Self::Alarm(alarm) => alarm.run(&reader).await,
            Self::Show(show) => show.run(&reader).await,
            Self::History(history) => history.run(&reader).await,
            Self::Diff(diff) => diff.run(&reader).await,
        }
    }
}

impl List {
    async fn run(&self, reader: &Reader) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View {
            hosts: Vec<HostView>,
            more: bool,
        }
        let (hosts, more) = hosts(reader, self.limit.limit as usize).await?;
        let rows: Vec<_> = hosts.iter().map(HostView::row).collect();
        let text = listed("hosts", table(&HostView::HEADINGS, &rows), rows.len(), more, &raise(self.limit));
        Ok(Answer::new(text, &View { hosts, more }))
    }
}

/// Hosts, as many as are wanted; whether there are more.
async fn hosts(reader: &Reader, most: usize) -> Result<(Vec<HostView>, bool), Failure> {
    let (chain_id, read) = (reader.connection.chain_id, reader.wish(None)?);
    let pages = pages(most, |page_token, page_size| {
        let mut inventories = reader.connection.inventories.clone();
        let request = ListInventoriesRequest { read: read.clone(), page_size, page_token };
        async move {
            let answer = inventories.list(request).await?.into_inner();
            let now_ms = time::now_ms();
            let hosts = answer.endpoints.into_iter().map(|host| HostView::new(host, &chain_id, now_ms));
            Ok((hosts.collect::<Result<_, NodeError>>()?, answer.next_page_token))
        }
    });
    Ok(pages.await?)
}

impl Alarm {
    async fn run(&self, reader: &Reader) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View {
            looked_at: usize,
            hosts: Vec<HostView>,
        }
        let mut silent = BTreeSet::new();
        for but in &self.but {
            silent.insert(resolve_endpoint(&reader.connection, but).await?);
        }
        let is_meant = |host: &HostView| !silent.contains(&host.key());
        let (all, more) = hosts(reader, HOSTS_MAX).await?;
        if more {
            return Err(NodeError::Unbelievable(format!("more than {HOSTS_MAX} hosts")).into());
        }
        let all: Vec<_> = all.into_iter().filter(|host| host.is_active() && is_meant(host)).collect();
        let looked_at = all.len();
        let hosts: Vec<_> = all.into_iter().filter(HostView::is_alarming).collect();
        let rows: Vec<_> = hosts.iter().flat_map(HostView::alarms).collect();
        let (text, code) = match hosts.is_empty() {
            true if looked_at == 1 => ("nothing is wrong with the one host".to_owned(), EXIT_DONE),
            true => (format!("nothing is wrong with {looked_at} hosts"), EXIT_DONE),
            false => (table(&HostView::ALARM_HEADINGS, &rows), EXIT_REFUSED),
        };
        Ok(Answer::new(text, &View { looked_at, hosts }).with_code(code))
    }
}

impl Show {
    async fn run(&self, reader: &Reader) -> Result<Answer, Failure> {
        let endpoint = resolve_endpoint(&reader.connection, &self.host).await?;
        let wanted = match &self.at {
            Some(prefix) => Some(one_of(&reader.history(endpoint).await?, prefix)?),
            None => None,
        };
        let shown: ShownInventory = reader.inventory(endpoint, wanted).await?;
        Ok(Answer::new(shown.text(), &shown))
    }
}

/// Since when a host had what, and what changed then.
#[derive(Serialize)]
struct EntryView {
    inventory: Digest,
    since_ms: u64,
    changes: Option<Vec<Change>>,
}

impl EntryView {
    fn text(&self) -> String {
        let mut text = format!("{}  {}\n", time::show(self.since_ms), short(&self.inventory));
        match &self.changes {
            None => text.push_str("  the first that is kept\n"),
            Some(changes) => {
                for change in changes.iter().take(LINES_MAX) {
                    text.push_str(&format!("  {}\n", escape(&change.to_string())));
                }
                if let Some(more) = changes.len().checked_sub(LINES_MAX).filter(|more| *more > 0) {
                    text.push_str(&format!("  and {more} more: `countersign inventory diff` shows all\n"));
                }
            }
        }
        text
    }
}

impl History {
    async fn run(&self, reader: &Reader) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View {
            endpoint: PublicKey,
            entries: Vec<EntryView>,
            more: bool,
        }
        let endpoint = resolve_endpoint(&reader.connection, &self.host).await?;
        let all = reader.history(endpoint).await?;
        let (shown, mut entries) = (all.len().min(self.limit.limit as usize), Vec::new());
        // Each is fetched once: it is the one after, and then the one before.
        let mut after: Option<Inventory> = None;
        for (place, (inventory, since_ms)) in all.iter().enumerate().take(shown) {
            let is = match after.take() {
                Some(is) => is,
                None => reader.inventory(endpoint, Some(*inventory)).await?.content,
            };
            let was = match all.get(place + 1) {
                Some((before, _)) => Some(reader.inventory(endpoint, Some(*before)).await?.content),
                None => None,
            };
            let changes = was.as_ref().map(|was| changes(was, &is));
            entries.push(EntryView { inventory: *inventory, since_ms: *since_ms, changes });
            after = was;
        }
        let text: String = entries.iter().map(EntryView::text).collect();
        let more = shown < all.len();
        let text = listed("inventories", text, entries.len(), more, &raise(self.limit));
        Ok(Answer::new(text, &View { endpoint, entries, more }))
    }
}

impl Diff {
    async fn run(&self, reader: &Reader) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View {
            endpoint: PublicKey,
            before: Digest,
            after: Digest,
            changes: Vec<Change>,
        }
        let endpoint = resolve_endpoint(&reader.connection, &self.host).await?;
        let all = reader.history(endpoint).await?;
        let named = |prefix: &Option<String>, place: usize| match prefix {
            Some(prefix) => one_of(&all, prefix),
            None => all.get(place).map(|(inventory, _)| *inventory).ok_or_else(|| {
                let message = format!("{} has one inventory: there is nothing to compare it with", self.host);
                Failure::usage(message, "`countersign inventory show` shows it")
            }),
        };
        let (before, after) = (named(&self.before, 1)?, named(&self.after, 0)?);
        let was = reader.inventory(endpoint, Some(before)).await?.content;
        let is = reader.inventory(endpoint, Some(after)).await?.content;
        let changes = changes(&was, &is);
        let mut text = facts(&[("before", before.to_string()), ("after", after.to_string())]);
        changes.iter().for_each(|change| text.push_str(&format!("{}\n", escape(&change.to_string()))));
        Ok(Answer::new(text, &View { endpoint, before, after, changes }))
    }
}

/// The one inventory of a history whose digest begins so.
fn one_of(history: &[(Digest, u64)], prefix: &str) -> Result<Digest, Failure> {
    let mut digests: Vec<Digest> = history.iter().map(|(inventory, _)| *inventory).collect();
    digests.sort();
    digests.dedup();
    Ok(only("inventory", "inventories", prefix, &digests)?)
}
