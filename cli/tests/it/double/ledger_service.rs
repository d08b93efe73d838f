//! The ledger service of the double.

use super::shared::refused_by_rule;
use super::{Answer, Double, Fault, Lie, NoStream, PAGE_MAX, bytes32, not_found, now_ms, refusal, refused};
use ledger::encoding::encode;
use ledger::id::{PatchId, TransactionId};
use ledger::state::StateView as _;
use ledger::state::record::Role;
use ledger::transaction::SignedTransaction;
use proto::v1::ledger_server::Ledger;
use proto::v1::{
    BlockSummary, CheckRequest, CheckResponse, Endpoint, GetBlockRequest, GetBlockResponse, GetEpochsRequest,
    GetEpochsResponse, GetGenesisRequest, GetGenesisResponse, GetHeadRequest, GetPatchRequest, GetProofRequest,
    GetProofResponse, GetProposalRequest, GetSnapshotRequest, GetStatusRequest, GetStatusResponse,
    GetTransactionRequest, GetTransactionResponse, Head, ListBlocksRequest, ListBlocksResponse, ListConvictionsRequest,
    ListConvictionsResponse, ListEndpointsRequest, ListEndpointsResponse, ListMembersRequest, ListMembersResponse,
    ListPatchesRequest, ListPatchesResponse, ListProposalsRequest, ListProposalsResponse, ListReceiptsRequest,
    ListReceiptsResponse, Patch, Peer, Proposal, Receipt, SnapshotPart, SubmitRequest, SubmitResponse,
    SubmitStreamResponse, TransactionState, WatchHeadsRequest,
};
use tonic::{Code, Request, Response, Status, Streaming};

#[tonic::async_trait]
impl Ledger for Double {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        let shared = self.lock();
        let mut chain_id = shared.ledger.scenario.chain_id().0.to_vec();
        if shared.manners.lie == Some(Lie::OtherChain) {
            chain_id[0] ^= 1;
        }
        let peer = |organisation: &str| Peer {
            node_key: shared.ledger.scenario.key(organisation, Role::Node).public().0.to_vec(),
            organisation: organisation.to_owned(),
            address: "127.0.0.1:7001".to_owned(),
            height: 12,
        };
        Ok(Response::new(GetStatusResponse {
            version: "0.1.0".to_owned(),
            chain_id,
            ledger_name: "harness".to_owned(),
            organisation: "bank".to_owned(),
            node_key: shared.ledger.scenario.key("bank", Role::Node).public().0.to_vec(),
            validator: true,
            height: shared.ledger.tip.header.height,
            head_time_ms: shared.ledger.tip.header.time_ms,
            transactions: shared.ledger.log.len() as u64,
            pending: 0,
            peers: vec![peer("acme"), peer("clinic")],
            finality_p50_ms: 41.5,
            finality_p99_ms: 120.0,
            validators: 4,
            validators_connected: if shared.manners.lonely { 1 } else { 3 },
            quorum: 3,
            heartbeat_ms: 1_000,
        }))
    }

    type GetSnapshotStream = NoStream<SnapshotPart>;

    async fn get_snapshot(&self, _: Request<GetSnapshotRequest>) -> Answer<Self::GetSnapshotStream> {
        Err(Status::unimplemented("the double has no store"))
    }

    async fn get_genesis(&self, _: Request<GetGenesisRequest>) -> Answer<GetGenesisResponse> {
        Ok(Response::new(GetGenesisResponse { genesis: self.lock().ledger.trust_root() }))
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Answer<SubmitResponse> {
        let mut shared = self.lock();
        shared.manners.submissions += 1;
        let chain = shared.ledger.scenario.chain_id();
        let transaction = SignedTransaction::verify_bytes(&request.into_inner().transaction, &chain)
            .map_err(|error| refused("signature", error))?;
        let id = transaction.id();
        let fault = shared.manners.faults.pop_front();
        match fault {
            Some(Fault::Busy) => {
                return Err(proto::refuse(Code::ResourceExhausted, &refusal("mempool-full", "no room", 1)));
            }
            Some(Fault::RequestLost) => return Err(Status::unknown("connection reset")),
            Some(Fault::Slow) => shared.manners.slow.push(transaction),
            _ if shared.position(&id).is_none() => shared.finalise(transaction)?,
            _ => {}
        }
        if matches!(fault, Some(Fault::AnswerLost)) {
            return Err(Status::unknown("connection reset"));
        }
        let position = shared.position(&id);
        let state = if position.is_some() { TransactionState::Finalised } else { TransactionState::Pending };
        let mut id = id.0.to_vec();
        if shared.manners.lie == Some(Lie::OtherTransaction) {
            id[0] ^= 1;
        }
        Ok(Response::new(SubmitResponse { id, state: state.into(), position }))
    }

    type SubmitStreamStream = NoStream<SubmitStreamResponse>;

    async fn submit_stream(&self, _: Request<Streaming<SubmitRequest>>) -> Answer<Self::SubmitStreamStream> {
        Err(Status::unimplemented("not for hands"))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Answer<CheckResponse> {
        let mut shared = self.lock();
        let chain = shared.ledger.scenario.chain_id();
        let transaction = SignedTransaction::verify_bytes(&request.into_inner().transaction, &chain)
            .map_err(|error| refused("signature", error))?;
        if std::mem::take(&mut shared.manners.cannot_check) {
            return Err(Status::unimplemented("an older node"));
        }
        let id = transaction.id().0.to_vec();
        shared.ledger.check(&transaction, now_ms()).map_err(refused_by_rule)?;
        Ok(Response::new(CheckResponse { id }))
    }

    async fn get_transaction(&self, request: Request<GetTransactionRequest>) -> Answer<GetTransactionResponse> {
        let mut shared = self.lock();
        let id = TransactionId(bytes32(&request.into_inner().id)?);
        let Some(position) = shared.position(&id) else {
            // Known, not final: it will be when it is asked about again.
            let slow = std::mem::take(&mut shared.manners.slow);
            let known = slow.iter().any(|transaction| transaction.id() == id);
            for transaction in slow {
                shared.finalise(transaction)?;
            }
            let state = if known { TransactionState::Pending } else { TransactionState::Unknown };
            return Ok(Response::new(GetTransactionResponse { state: state.into(), ..Default::default() }));
        };
        let mut transaction = shared.ledger.log[usize::try_from(position.index).unwrap()].0.bytes().to_vec();
        match shared.manners.lie {
            Some(Lie::OtherProposing) => {
                let other = shared.proposals().into_iter().find(|(other, _)| *other != id).unwrap().1;
                transaction = shared.ledger.log[usize::try_from(other.proposed.index).unwrap()].0.bytes().to_vec();
            }
            Some(Lie::NotAProposal) => transaction = shared.ledger.log[1].0.bytes().to_vec(),
            Some(Lie::Altered) => *transaction.last_mut().unwrap() ^= 1,
            _ => {}
        }
        let state = TransactionState::Finalised.into();
        Ok(Response::new(GetTransactionResponse { state, position: Some(position), transaction, ..Default::default() }))
    }

    async fn get_head(&self, _: Request<GetHeadRequest>) -> Answer<Head> {
        let shared = self.lock();
        let header = &shared.ledger.tip.header;
        let certificate = shared.ledger.blocks.last().map(|(_, certificate)| encode(certificate)).unwrap_or_default();
        let (height, hash) = (header.height, header.hash().0.to_vec());
        Ok(Response::new(Head { height, hash, header: encode(header), certificate, poll_after_ms: 1_000 }))
    }

    type WatchHeadsStream = NoStream<Head>;

    async fn watch_heads(&self, _: Request<WatchHeadsRequest>) -> Answer<Self::WatchHeadsStream> {
        Err(Status::unimplemented("not for hands"))
    }

    async fn get_block(&self, request: Request<GetBlockRequest>) -> Answer<GetBlockResponse> {
        let shared = self.lock();
        let height = request.into_inner().height;
        if height == 0 {
            let header = shared.ledger.scenario.genesis().header.clone();
            let block = ledger::block::Block { header, transactions: Default::default() };
            return Ok(Response::new(GetBlockResponse { block: encode(&block), certificate: Vec::new() }));
        }
        if height < shared.manners.floor {
            return Err(not_found("block"));
        }
        let place = usize::try_from(height - 1).unwrap();
        let (executed, certificate) = shared.ledger.blocks.get(place).ok_or_else(|| not_found("block"))?;
        let mut block = encode(&executed.block);
        if shared.manners.lie == Some(Lie::Altered) {
            // A byte of the state root: nothing but the certificate can tell.
            let root = executed.block.header.state_root.0;
            let place = block.windows(32).position(|bytes| bytes == root).unwrap();
            block[place] ^= 1;
        }
        Ok(Response::new(GetBlockResponse { block, certificate: encode(certificate) }))
    }

    async fn list_blocks(&self, request: Request<ListBlocksRequest>) -> Answer<ListBlocksResponse> {
        let shared = self.lock();
        let ListBlocksRequest { from_height, page_size } = request.into_inner();
        let from = if from_height == 0 { shared.ledger.tip.header.height } else { from_height };
        let size = u64::from(page_size).min(PAGE_MAX as u64);
        let heights = (from.saturating_sub(size) + 1..=from).rev().filter(|height| *height > 0);
        let summary = |height: u64| {
            let (executed, certificate) = &shared.ledger.blocks[usize::try_from(height - 1).unwrap()];
            let header = &executed.block.header;
            BlockSummary {
                height,
                hash: header.hash().0.to_vec(),
                time_ms: header.time_ms,
                transactions: header.tx_count,
                round: certificate.round,
                proposer_organisation: "acme".to_owned(),
                signers: 3,
            }
        };
        let next_height = match shared.manners.lie {
            Some(Lie::Endless) => from + 1,
            _ => from.saturating_sub(size),
        };
        Ok(Response::new(ListBlocksResponse { blocks: heights.map(summary).collect(), next_height }))
    }

    async fn get_epochs(&self, request: Request<GetEpochsRequest>) -> Answer<GetEpochsResponse> {
        Ok(Response::new(self.lock().epochs(request.into_inner().from_height)))
    }

    async fn list_members(&self, _: Request<ListMembersRequest>) -> Answer<ListMembersResponse> {
        Ok(Response::new(self.lock().members()))
    }

    async fn get_proposal(&self, request: Request<GetProposalRequest>) -> Answer<Proposal> {
        let shared = self.lock();
        let id = TransactionId(bytes32(&request.into_inner().id)?);
        let record = shared.ledger.storage.proposal(id).unwrap().ok_or_else(|| not_found("proposal"))?;
        Ok(Response::new(shared.proposal(id, &record)))
    }

    async fn list_proposals(&self, request: Request<ListProposalsRequest>) -> Answer<ListProposalsResponse> {
        let shared = self.lock();
        let ListProposalsRequest { standing, page_size, page_token } = request.into_inner();
        let mut proposals = shared.proposals();
        proposals.retain(|(_, record)| standing.is_empty() || record.standing.to_string() == standing);
        let proposals = proposals.iter().map(|(id, record)| shared.proposal(*id, record)).collect();
        let (proposals, next_page_token) = shared.page(proposals, page_size, &page_token);
        Ok(Response::new(ListProposalsResponse { proposals, next_page_token }))
    }

    async fn list_convictions(&self, request: Request<ListConvictionsRequest>) -> Answer<ListConvictionsResponse> {
        let shared = self.lock();
        let ListConvictionsRequest { key, page_size, page_token } = request.into_inner();
        let mut convictions = shared.convictions();
        convictions.retain(|known| key.is_empty() || known.culprits.iter().any(|culprit| culprit.key == key));
        let (convictions, next_page_token) = shared.page(convictions, page_size, &page_token);
        Ok(Response::new(ListConvictionsResponse { convictions, next_page_token }))
    }

    async fn get_patch(&self, request: Request<GetPatchRequest>) -> Answer<Patch> {
        let shared = self.lock();
        let id = PatchId(bytes32(&request.into_inner().id)?);
        let record = shared.ledger.storage.patch(id).unwrap().ok_or_else(|| not_found("patch"))?;
        Ok(Response::new(shared.patch(id, &record)))
    }

    async fn list_patches(&self, request: Request<ListPatchesRequest>) -> Answer<ListPatchesResponse> {
        let shared = self.lock();
        let ListPatchesRequest { product, standing, id_prefix, page_size, page_token } = request.into_inner();
        let mut patches = shared.patches();
        patches.retain(|(id, record)| {
            (product.is_empty() || record.product.as_str() == product)
                && (standing.is_empty() || record.standing.to_string() == standing)
                && id.to_string().starts_with(&id_prefix)
        });
        let patches = patches.iter().map(|(id, record)| shared.patch(*id, record)).collect();
        let (patches, next_page_token) = shared.page(patches, page_size, &page_token);
        Ok(Response::new(ListPatchesResponse { patches, next_page_token }))
    }

    async fn list_endpoints(&self, request: Request<ListEndpointsRequest>) -> Answer<ListEndpointsResponse> {
        let shared = self.lock();
        let ListEndpointsRequest { organisation, page_size, page_token } = request.into_inner();
        let endpoints = shared.endpoints.iter().map(|key| {
            let record = shared.ledger.storage.endpoint(*key).unwrap().unwrap();
            Endpoint {
                key: key.0.to_vec(),
                name: record.name.to_string(),
                group: record.group.to_string(),
                organisation: record.organisation.to_string(),
                labels: record.labels.iter().map(|label| (label.key.to_string(), label.value.to_string())).collect(),
                status: format!("{:?}", record.status).to_lowercase(),
                enrolled: Some(shared.position_at(record.enrolled.index)),
                last_receipt: shared.receipts.iter().rev().find(|receipt| receipt.endpoint == key.0).cloned(),
            }
        });
        let endpoints = endpoints.filter(|known| organisation.is_empty() || known.organisation == organisation);
        let (endpoints, next_page_token) = shared.page(endpoints.collect(), page_size, &page_token);
        Ok(Response::new(ListEndpointsResponse { endpoints, next_page_token }))
    }

    async fn list_receipts(&self, request: Request<ListReceiptsRequest>) -> Answer<ListReceiptsResponse> {
        let shared = self.lock();
        let ListReceiptsRequest { patch, endpoint, page_size, page_token } = request.into_inner();
        let asked = |receipt: &&Receipt| {
            (patch.is_empty() || receipt.patch == patch) && (endpoint.is_empty() || receipt.endpoint == endpoint)
        };
        let receipts = shared.receipts.iter().rev().filter(asked).cloned().collect();
        let (receipts, next_page_token) = shared.page(receipts, page_size, &page_token);
        Ok(Response::new(ListReceiptsResponse { receipts, next_page_token }))
    }

    async fn get_proof(&self, request: Request<GetProofRequest>) -> Answer<GetProofResponse> {
        let mut shared = self.lock();
        let id = PatchId(bytes32(&request.into_inner().patch)?);
        if shared.manners.provable_after > 0 {
            shared.manners.provable_after -= 1;
            return Err(proto::refuse(Code::Unavailable, &refusal("not-yet-provable", "wait", 1)));
        }
        let id = match shared.manners.lie {
            Some(Lie::OtherPatch) => shared.patches().last().unwrap().0,
            _ => id,
        };
        shared.ledger.storage.patch(id).unwrap().ok_or_else(|| not_found("patch"))?;
        Ok(Response::new(GetProofResponse { proof: shared.ledger.prove(id).bytes() }))
    }
}
