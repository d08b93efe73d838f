//! What an endpoint reads of an answer, and no more: a message decoded takes a few hundred times what it took on the
//! wire (an empty patch is 2 bytes there and some 580 here, so that 2 MiB of them were 600 MB), and an endpoint has
//! little memory and nobody it trusts. These are messages of `proto/` with the fields left out that nobody there looks
//! at (whoever decodes skips them, and keeps nothing of them), and none of them repeats anything but at its top, where
//! it is counted before anything is made of it: [`call`].

use crate::MESSAGE_BYTES_MAX;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use std::marker::PhantomData;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::ProstEncoder;

/// Patches asked for at one time.
pub const PATCHES_PER_PAGE: u32 = 20;
/// Receipts asked for at one time.
pub const RECEIPTS_PER_PAGE: u32 = 100;
/// Fields beside the entries of a page: where the next one begins, and what a later version may add.
const OTHER_FIELDS_MAX: usize = 16;

/// What is said of an answer with more in it than was asked for.
pub const TOO_MANY: &str = "more entries than were asked for";

/// An answer that repeats what it repeats at its top alone.
pub trait Lean: Message + Default + 'static {
    /// The call it answers, as it is called on the wire.
    const CALL: &'static str;
    /// Fields at its top, repeated ones as often as they are. Times the size of an entry in memory and what its own
    /// bytes take, of which there are [`MESSAGE_BYTES_MAX`] at most, this is what an answer can take: less than twice
    /// a message, and a few kibibytes.
    const FIELDS_MAX: usize;
}

/// `ListPatchesResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Patches {
    /// The patches of this page.
    #[prost(message, repeated, tag = "1")]
    pub patches: Vec<ListedPatch>,
    /// Where the next page begins; empty after the last.
    #[prost(string, tag = "2")]
    pub next_page_token: String,
}

impl Lean for Patches {
    const CALL: &'static str = "/countersign.v1.Ledger/ListPatches";
    const FIELDS_MAX: usize = PATCHES_PER_PAGE as usize + OTHER_FIELDS_MAX;
}

/// `Patch`, in a list.
#[derive(Clone, PartialEq, Message)]
pub struct ListedPatch {
    /// Its id.
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    /// The product it is of.
    #[prost(string, tag = "2")]
    pub product: String,
    /// The channel it is for.
    #[prost(string, tag = "3")]
    pub channel: String,
    /// Its release counter.
    #[prost(uint64, tag = "5")]
    pub release: u64,
    /// `pending`, `approved`, `rejected`, `held`, `recalled`.
    #[prost(string, tag = "10")]
    pub standing: String,
}

/// `ListReceiptsResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Receipts {
    /// The receipts of this page.
    #[prost(message, repeated, tag = "1")]
    pub receipts: Vec<ListedReceipt>,
    /// Where the next page begins; empty after the last.
    #[prost(string, tag = "2")]
    pub next_page_token: String,
}

impl Lean for Receipts {
    const CALL: &'static str = "/countersign.v1.Ledger/ListReceipts";
    const FIELDS_MAX: usize = RECEIPTS_PER_PAGE as usize + OTHER_FIELDS_MAX;
}

/// `Receipt`, in a list.
#[derive(Clone, PartialEq, Message)]
pub struct ListedReceipt {
    /// The key of the endpoint that wrote it.
    #[prost(bytes = "vec", tag = "1")]
    pub endpoint: Vec<u8>,
    /// The patch it is about.
    #[prost(bytes = "vec", tag = "3")]
    pub patch: Vec<u8>,
    /// Its number among those of this endpoint about this patch.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
    /// The transaction it is.
    #[prost(bytes = "vec", tag = "13")]
    pub transaction_id: Vec<u8>,
}

/// `GetEpochsResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Epochs {
    /// Encoded epoch links.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub links: Vec<Vec<u8>>,
}

impl Lean for Epochs {
    const CALL: &'static str = "/countersign.v1.Ledger/GetEpochs";
    /// At most 32 links (`ledger.proto`).
    const FIELDS_MAX: usize = 32 + OTHER_FIELDS_MAX;
}

/// `Patch`, where only the recall of it is of interest.
#[derive(Clone, PartialEq, Message)]
pub struct Recalled {
    /// The recall that withdrew it, when it is recalled.
    #[prost(message, optional, tag = "19")]
    pub recall: Option<RecalledIn>,
}

/// `PatchVerdict`, where only its transaction is of interest.
#[derive(Clone, PartialEq, Message)]
pub struct RecalledIn {
    /// The transaction it was signed in.
    #[prost(bytes = "vec", tag = "7")]
    pub transaction_id: Vec<u8>,
}

impl Lean for Recalled {
    const CALL: &'static str = "/countersign.v1.Ledger/GetPatch";
    /// Nothing that repeats is read.
    const FIELDS_MAX: usize = usize::MAX;
}

/// `GetStatusResponse`, where only the node's key is of interest.
#[derive(Clone, PartialEq, Message)]
pub struct NodeKey {
    /// Key this node is known by to its peers.
    #[prost(bytes = "vec", tag = "5")]
    pub node_key: Vec<u8>,
}

impl Lean for NodeKey {
    const CALL: &'static str = "/countersign.v1.Ledger/GetStatus";
    /// Nothing that repeats is read.
    const FIELDS_MAX: usize = usize::MAX;
}

/// Asks a node, and reads what is of interest of its answer.
///
/// # Errors
/// The status of the call. An answer with more in it than was asked for is `OUT_OF_RANGE`, with [`TOO_MANY`].
pub async fn call<Q, A>(channel: Channel, question: Q) -> Result<Response<A>, Status>
where
    Q: Message + 'static,
    A: Lean,
{
    let mut client = Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    client.unary(Request::new(question), PathAndQuery::from_static(A::CALL), LeanCodec::<Q, A>(PhantomData)).await
}

struct LeanCodec<Q, A>(PhantomData<(Q, A)>);

impl<Q: Message + 'static, A: Lean> Codec for LeanCodec<Q, A> {
    type Encode = Q;
    type Decode = A;
    type Encoder = ProstEncoder<Q>;
    type Decoder = LeanDecoder<A>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        LeanDecoder(PhantomData)
    }
}

struct LeanDecoder<A>(PhantomData<A>);

impl<A: Lean> Decoder for LeanDecoder<A> {
    type Item = A;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<A>, Status> {
        use prost::bytes::Buf as _;
        // The library hands over a whole message in one piece; another one could not be counted, and is not taken.
        let length = bytes.remaining();
        if bytes.chunk().len() != length {
            return Err(Status::out_of_range(TOO_MANY));
        }
        let answer = read(bytes.chunk())?;
        bytes.advance(length);
        Ok(Some(answer))
    }
}

/// Reads an answer, counted before anything is made of it.
///
/// # Errors
/// As [`call`], for an answer with more in it than was asked for, and for one that is none.
pub fn read<A: Lean>(message: &[u8]) -> Result<A, Status> {
    if has_more_fields(message, A::FIELDS_MAX)? {
        return Err(Status::out_of_range(TOO_MANY));
    }
    A::decode(message).map_err(malformed)
}

/// Whether there are more fields at the top of a message than this; nothing is made of them.
fn has_more_fields(mut message: &[u8], most: usize) -> Result<bool, Status> {
    for _ in 0..most {
        if message.is_empty() {
            return Ok(false);
        }
        let (tag, wire_type) = decode_key(&mut message).map_err(malformed)?;
        skip_field(wire_type, tag, &mut message, DecodeContext::default()).map_err(malformed)?;
    }
    Ok(!message.is_empty())
}

fn malformed(error: prost::DecodeError) -> Status {
    Status::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    #[test]
    fn what_is_counted_is_what_would_be_made() {
        for (patches, more) in [(0, false), (1, false), (35, false), (36, true), (100_000, true)] {
            let patches = vec![v1::Patch::default(); patches];
            let page = v1::ListPatchesResponse { patches, next_page_token: "next".to_owned() };
            assert_eq!(has_more_fields(&page.encode_to_vec(), Patches::FIELDS_MAX).unwrap(), more);
        }
        // Cut off in the middle of a field, and no field at all.
        for broken in [&[0x0a, 5, 1][..], &[0x0a], &[0xff; 11], &[0x0f, 1]] {
            has_more_fields(broken, 10).unwrap_err();
        }
    }

    /// The fields have the numbers of `proto/`.
    #[test]
    fn what_is_read_is_what_was_written() {
        let verdict = v1::PatchVerdict { transaction_id: vec![9; 32], ..Default::default() };
        let patch = v1::Patch {
            id: vec![7; 32],
            product: "acme/widget".to_owned(),
            channel: "stable".to_owned(),
            release: 3,
            standing: "approved".to_owned(),
            publish_transaction: vec![1; 4096],
            verdicts: vec![verdict.clone(); 1000],
            recall: Some(verdict),
            ..Default::default()
        };
        let recalled = Recalled::decode(&*patch.encode_to_vec()).unwrap();
        assert_eq!(recalled.recall.unwrap().transaction_id, [9; 32]);
        let page = v1::ListPatchesResponse { patches: vec![patch.clone()], next_page_token: "next".to_owned() };
        let read = Patches::decode(&*page.encode_to_vec()).unwrap();
        let v1::Patch { id, product, channel, release, standing, .. } = patch;
        assert_eq!(read.patches, [ListedPatch { id, product, channel, release, standing }]);
        assert_eq!(read.next_page_token, "next");
        let receipt = v1::Receipt { endpoint: vec![1; 32], patch: vec![2; 32], attempt: 5, ..Default::default() };
        let page = v1::ListReceiptsResponse { receipts: vec![receipt], next_page_token: "next".to_owned() };
        let read = Receipts::decode(&*page.encode_to_vec()).unwrap();
        assert_eq!(
            read.receipts,
            [ListedReceipt { endpoint: vec![1; 32], patch: vec![2; 32], attempt: 5, transaction_id: vec![] }]
        );
        assert_eq!(read.next_page_token, "next");
        let epochs = v1::GetEpochsResponse { links: vec![vec![1], vec![2]] };
        assert_eq!(Epochs::decode(&*epochs.encode_to_vec()).unwrap().links, epochs.links);
        let status = v1::GetStatusResponse { node_key: vec![4; 32], ..Default::default() };
        assert_eq!(NodeKey::decode(&*status.encode_to_vec()).unwrap().node_key, [4; 32]);
    }
}
