//! Organisations that come later: their keys, their node, and what makes them members.

use crate::layout::{Devnet, Key};
use crate::processes;
use crate::raise::{RaiseError, introduce_one, io_error, make_key, make_node, public_key, tell_of, work_of};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Makes an organisation's keys and a node with a validating key, and starts the node. As long as it is
/// no member, no other node talks to it that was not told of it: the others are by their configuration, for their next
/// start; until then it is the newcomer that connects.
///
/// Gives the `[[change]]` of a proposal file (`countersign propose`) that makes it a member.
///
/// # Errors
/// [`RaiseError`].
pub fn join(devnet: &mut Devnet, organisation: &str) -> Result<String, RaiseError> {
    if devnet.node(organisation).is_some() {
        return Err(RaiseError::Plan(format!("{organisation} is here already")));
    }
    let file = |role: &str| devnet.dir.join("keys").join(format!("{organisation}-{role}.key"));
    let made: Vec<Key> = [work_of(organisation), "governor"]
        .into_iter()
        .map(|role| make_key(&file(role), organisation, role))
        .collect::<Result<_, _>>()?;
    let made_node = make_node(&devnet.dir, organisation, true, Ipv4Addr::LOCALHOST)?;
    let (mut node, validator_key) = (made_node.node, made_node.validator_key.unwrap_or_default());
    // It votes when the set of validators names it, not before.
    node.validator = false;
    introduce_one(&node, &devnet.nodes, &devnet.genesis)?;
    devnet.nodes.iter().try_for_each(|other| tell_of(other, &node))?;
    trust(devnet, &node.config.with_file_name("ca.pem"))?;

    let keys = made.iter().map(|key| (key.role.as_str(), key.public_key.as_str()));
    let keys = keys.chain([("node", node.node_key.as_str()), ("validator", validator_key.as_str())]);
    let mut change = format!("[[change]]\nkind = \"add-organisation\"\nname = \"{organisation}\"\n");
    if organisation.starts_with("vendor") {
        let _ = writeln!(change, "namespaces = [\"{organisation}\"]");
    }
    change += "keys = [\n";
    for (role, key) in keys {
        let _ = writeln!(change, "  {{ role = \"{role}\", public_key = \"{key}\" }},");
    }
    change += "]\n";

    processes::start_node(&mut node).map_err(io_error("cannot start countersign-node"))?;
    devnet.nodes.push(node);
    devnet.keys.extend(made);
    devnet.save().map_err(io_error("cannot write devnet.json"))?;
    Ok(change)
}

/// The `[[change]]` of a proposal file by which these organisations' nodes are the validators.
///
/// # Errors
/// [`RaiseError`].
pub fn validators(devnet: &Devnet, organisations: &[&str]) -> Result<String, RaiseError> {
    let mut change = "[[change]]\nkind = \"set-validators\"\nvalidator = [\n".to_owned();
    for organisation in organisations {
        let node = devnet.node(organisation);
        let node = node.ok_or_else(|| RaiseError::Plan(format!("{organisation} has no node here")))?;
        let key = public_key(&node.config.with_file_name("validator.key"))?;
        let _ = writeln!(change, "  {{ organisation = \"{organisation}\", public_key = \"{key}\" }},");
    }
    Ok(change + "]\n")
}

/// Adds a node's root certificate to those that clients of this devnet trust.
fn trust(devnet: &Devnet, root: &PathBuf) -> Result<(), RaiseError> {
    let pem = fs::read(root).map_err(io_error(format!("cannot read {}", root.display())))?;
    let mut file = OpenOptions::new().append(true).open(&devnet.ca).map_err(io_error("cannot open ca.pem"))?;
    file.write_all(&pem).map_err(io_error("cannot write ca.pem"))
}
