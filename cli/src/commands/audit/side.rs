//! One side of a comparison: a node, or a file somebody took away. Whatever it shows is proven from the trust
//! root before it is compared.

use crate::commands::epochs::links;
use crate::connection::{Connection, NodeError};
use crate::failure::Failure;
use crate::files;
use crate::options::Global;
use crate::trust::Trust;
use ledger::block::Block;
use ledger::certificate::FinalizedHeader;
use ledger::encoding::decode;
use ledger::evidence::CertifiedHeader;
use ledger::fork::{FORK_VERSION, HeadFile};
use ledger::limits;
use ledger::proof::{EpochLink, ProofBundle};
use ledger::validators::ValidatorSet;
use proto::v1::GetBlockRequest;
use std::path::Path;

/// The check by which a node says that it has not got a block.
const FORGOTTEN: &str = "not-found";

/// A side: what proves its headers, and where they come from.
pub(super) struct Side {
    /// As it was given.
    pub(super) name: String,
    epochs: Vec<EpochLink>,
    genesis: ValidatorSet,
    from: From,
}

enum From {
    /// The one header of a file that is no epoch's.
    File(Box<CertifiedHeader>),
    Node(Box<Connection>),
}

impl Side {
    /// Opens a node when the words are an address, and a file otherwise.
    pub(super) async fn open(name: &str, global: &Global, trust: &Trust) -> Result<Self, Failure> {
        let opened = if name.starts_with("https://") || name.starts_with("http://") {
            Self::node(name, global, trust).await
        } else {
            Self::file(name, trust)
        };
        opened.map_err(|source| Failure::Side { side: name.to_owned(), source: Box::new(source) })
    }

    async fn node(name: &str, global: &Global, trust: &Trust) -> Result<Self, Failure> {
        let global = Global { node: Some(name.to_owned()), ..global.clone() };
        let mut connection = Connection::open(&global, Some(trust)).await?;
        let (epochs, _) = links(&mut connection, trust).await?;
        let from = From::Node(Box::new(connection));
        Ok(Self { name: name.to_owned(), epochs, genesis: trust.genesis().validators.clone(), from })
    }

    fn file(name: &str, trust: &Trust) -> Result<Self, Failure> {
        let path = Path::new(name);
        let bytes = files::read(path, "head file or proof file", limits::PROOF_BYTES_MAX)?;
        let file = match decode::<HeadFile>(&bytes) {
            Ok(file) => file,
            Err(error) => match ProofBundle::parse(&bytes) {
                Ok(ProofBundle { chain_id, epochs, header, certificate, .. }) => {
                    HeadFile { version: FORK_VERSION, chain_id, epochs, head: CertifiedHeader { header, certificate } }
                }
                Err(_) => {
                    return Err(Failure::usage(
                        format!("{name} is neither a head file nor a proof file: {error}"),
                        "`countersign chain show --out` and `countersign proof get` write them; a node's address begins \
                         with https://",
                    ));
                }
            },
        };
        file.verify(trust.root()).map_err(|error| {
            let hint = "it proves nothing: get it again, or name the node it is from";
            Failure::usage(format!("refused by check {}: {error}", error.check()), hint)
        })?;
        Ok(Self {
            name: name.to_owned(),
            epochs: file.epochs.to_vec(),
            genesis: trust.genesis().validators.clone(),
            from: From::File(Box::new(file.head)),
        })
    }

    /// Its newest height.
    pub(super) fn tip(&self) -> u64 {
        match &self.from {
            From::File(head) => head.header.height,
            From::Node(connection) => connection.status.height,
        }
    }

    /// The heights it has headers of, when these are not all.
    pub(super) fn heights(&self) -> Option<Vec<u64>> {
        let From::File(head) = &self.from else { return None };
        Some(self.epochs.iter().map(|link| link.header.height).chain([head.header.height]).collect())
    }

    /// The changes of the validators that lead to a height.
    pub(super) fn epochs_before(&self, height: u64) -> Vec<EpochLink> {
        self.epochs.iter().filter(|link| link.header.height < height).cloned().collect()
    }

    /// The header it has at a height, proven final; `None` when it has none: a node may forget old blocks, or
    /// have begun with a snapshot.
    pub(super) async fn at(&mut self, height: u64, trust: &Trust) -> Result<Option<FinalizedHeader>, Failure> {
        let link = self.epochs.iter().find(|link| link.header.height == height);
        let link =
            link.map(|link| CertifiedHeader { header: link.header.clone(), certificate: link.certificate.clone() });
        let head = match (&mut self.from, link) {
            // The headers that change the validators are kept by everybody, and were shown already.
            (_, Some(link)) => link,
            (From::File(head), None) => {
                if head.header.height != height {
                    return Ok(None);
                }
                (**head).clone()
            }
            (From::Node(connection), None) => match ask(connection, height).await {
                Ok(head) => head,
                Err(NodeError::Refused { check, .. }) if check == FORGOTTEN => return Ok(None),
                Err(error) => {
                    return Err(Failure::Side { side: self.name.clone(), source: Box::new(error.into()) });
                }
            },
        };
        let epoch = self.epochs.iter().rev().find(|link| link.header.height < height);
        let validators = epoch.map_or(&self.genesis, |link| &link.validators);
        let verified = head.certificate.verify(&head.header, &trust.chain_id(), validators);
        verified.map(Some).map_err(|error| {
            let source = NodeError::Unbelievable(format!("block {height}: {error}"));
            Failure::Side { side: self.name.clone(), source: Box::new(source.into()) }
        })
    }
}

async fn ask(connection: &mut Connection, height: u64) -> Result<CertifiedHeader, NodeError> {
    let answer = connection.ledger.get_block(GetBlockRequest { height }).await?.into_inner();
    let wrong = |error: String| NodeError::Unbelievable(format!("block {height}: {error}"));
    let header = Block::parse(&answer.block).map_err(|error| wrong(error.to_string()))?.header;
    if header.height != height || header.chain_id != connection.chain_id {
        return Err(wrong(format!("it is block {} of chain {}", header.height, header.chain_id)));
    }
    let certificate = decode(&answer.certificate).map_err(|error| wrong(error.to_string()))?;
    Ok(CertifiedHeader { header, certificate })
}
