//! The `Artifacts` service.

use super::answers::{Gone, Writer, answers};
use super::connections::Client;
use super::refusal::Refused;
use super::{Services, bytes32, wall_ms};
use crate::artifacts::{self, ArtifactError, OF_CLIENTS, Pace, Transfer, Upload, pieces};
use crate::origin::Origin;
use crate::shares::{NoShare, Share};
use ledger::artifact::{SignedUploadGrant, UploadGrant};
use ledger::bounded::Name;
use ledger::id::Digest;
use ledger::state::StateView as _;
use ledger::state::record::{KeyStatus, Role};
use proto::v1::{
    FetchRequest, FetchResponse, StatRequest, StatResponse, UploadRequest, UploadResponse, artifacts_server,
    upload_request::Part,
};
use std::io::Write as _;
use std::pin::Pin;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Request, Response, Status, Streaming};

/// Payload bytes of one upload message.
pub(super) const UPLOAD_PIECE_BYTES_MAX: usize = 256 * 1024;
/// Downloads of one address at once: a quarter of all, and no more than it leaves to others. A site of hundreds of
/// endpoints behind one address fetches 32 at a time; the others are told when to come.
pub(super) const DOWNLOADS_PER_ADDRESS_MAX: usize = artifacts::TRANSFERS_MAX / 4;

#[tonic::async_trait]
impl artifacts_server::Artifacts for Services {
    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatResponse>, Status> {
        let blake3 = Digest(bytes32("blake3", &request.into_inner().blake3)?);
        let size = self.artifacts.size(&blake3).map_err(Refused::from)?;
        Ok(Response::new(StatResponse { complete: size.is_some(), size: size.unwrap_or(0) }))
    }

    type FetchStream = Pin<Box<dyn Stream<Item = Result<FetchResponse, Status>> + Send>>;

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let client = Client::of(request.extensions()).cloned();
        let FetchRequest { blake3, size, offset, length } = request.into_inner();
        let blake3 = Digest(bytes32("blake3", &blake3)?);
        let have = self.artifacts.size(&blake3).map_err(Refused::from)?;
        let Some(have) = have else { return Err(Refused::from(ArtifactError::Absent(blake3)).into()) };
        if have != size {
            return Err(Refused::from(ArtifactError::Length { blake3, expected: size, actual: have }).into());
        }
        let Places { place_of_connection, share, transfer } = self.place_for(client.as_ref())?;
        let (mut writer, pieces) = pieces();
        let store = self.artifacts.clone();
        let encoding = tokio::task::spawn_blocking(move || {
            let _held = (transfer, share);
            store.encode(&blake3, offset, length, &mut writer)?;
            Ok::<_, ArtifactError>(writer.flush()?)
        });
        let (answers, stream) = answers(place_of_connection);
        tokio::spawn(send(pieces, encoding, answers, Pace::new(OF_CLIENTS, size)));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn upload(&self, request: Request<Streaming<UploadRequest>>) -> Result<Response<UploadResponse>, Status> {
        let client = Client::of(request.extensions()).cloned();
        let mut messages = request.into_inner();
        let mut pace = Pace::new(OF_CLIENTS, 0);
        let first = next(&mut messages, &mut pace).await?;
        let Some(UploadRequest { part: Some(Part::Grant(grant)) }) = first else {
            return Err(Refused::invalid("grant", "the first message must be the upload grant").into());
        };
        let (organisation, grant) = self.admit_upload(&grant)?;
        let (blake3, size) = (grant.blake3, grant.size);
        if self.artifacts.size(&blake3).map_err(Refused::from)? == Some(size) {
            return Ok(Response::new(UploadResponse { blake3: blake3.0.to_vec(), size }));
        }
        let held = self.place_for_upload(client.as_ref(), &organisation, blake3)?;
        let mut incoming = self.artifacts.receive(&organisation, blake3, size).map_err(Refused::from)?;
        let mut pace = Pace::new(OF_CLIENTS, size);
        while let Some(message) = next(&mut messages, &mut pace).await? {
            let Some(Part::Data(data)) = message.part else {
                return Err(Refused::invalid("grant", "only one grant per upload").into());
            };
            if data.len() > UPLOAD_PIECE_BYTES_MAX {
                let message = format!("a piece of {} bytes, at most {UPLOAD_PIECE_BYTES_MAX}", data.len());
                return Err(Refused::invalid("size", message).into());
            }
            incoming.write(&data).map_err(Refused::from)?;
            pace.moved(data.len()).map_err(ArtifactError::from).map_err(Refused::from)?;
        }
        let store = self.artifacts.clone();
        let kept = tokio::task::spawn_blocking(move || {
            // It has its files for as long as this takes, whoever waits for it.
            let _held = held;
            store.keep(incoming)
        });
        let kept = kept.await;
        kept.map_err(|_| Refused::stopping())?.map_err(Refused::from)?;
        Ok(Response::new(UploadResponse { blake3: blake3.0.to_vec(), size }))
    }
}

async fn next(messages: &mut Streaming<UploadRequest>, pace: &mut Pace) -> Result<Option<UploadRequest>, Status> {
    match pace.keep(messages.next()).await {
        Ok(message) => message.transpose(),
        Err(slow) => Err(Refused::from(ArtifactError::from(slow)).into()),
    }
}

/// Sends what a thread reads, as fast as the client takes it, and no slower than it must.
async fn send(
    mut pieces: mpsc::Receiver<Vec<u8>>,
    encoding: JoinHandle<Result<(), ArtifactError>>,
    answers: Writer<FetchResponse>,
    mut pace: Pace,
) {
    while let Some(data) = pace.excuse(pieces.recv()).await {
        let length = data.len();
        let taken = pace.keep(answers.put(FetchResponse { data })).await;
        match taken.and_then(|taken| pace.moved(length).map(|()| taken)) {
            Ok(Ok(())) => {}
            // A client that went away needs no more.
            Ok(Err(Gone)) => return,
            Err(slow) => return answers.refuse(Refused::from(ArtifactError::from(slow)).into()),
        }
    }
    match encoding.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => answers.refuse(Refused::from(error).into()),
        Err(_) => answers.refuse(Refused::stopping().into()),
    }
}

/// What a download holds.
struct Places {
    /// Until its stream has ended.
    place_of_connection: Option<OwnedSemaphorePermit>,
    /// Until everything was read, or the client was too slow.
    share: Option<Share>,
    transfer: Transfer,
}

impl Services {
    /// Places for one more download, of all, of its address's and of its connection's.
    fn place_for(&self, client: Option<&Client>) -> Result<Places, Refused> {
        let share_of = |client: &Client| {
            let place = client.downloads.clone().try_acquire_owned().map_err(|_| {
                let most = Client::downloads_max();
                Refused::busy(format!("{most} downloads of this connection are under way, its limit"))
            })?;
            let share = self.downloads.0.take_many(client.origin, 1);
            let share = share.map_err(|no_share| no_download(client.origin, no_share))?;
            Ok::<_, Refused>((place, share))
        };
        let (place_of_connection, share) = client.map(share_of).transpose()?.unzip();
        let transfer = self.artifacts.transfer_to_client().ok_or_else(|| {
            let most = artifacts::TRANSFERS_MAX;
            no_download(Client::origin_of(client), NoShare::All(most))
        })?;
        Ok(Places { place_of_connection, share, transfer })
    }

    /// A place for one more upload, of all, of its organisation's and of its connection's.
    fn place_for_upload(
        &self,
        client: Option<&Client>,
        organisation: &Name,
        blake3: Digest,
    ) -> Result<(Option<OwnedSemaphorePermit>, Upload), Refused> {
        let place = client.map(|client| client.uploads.clone().try_acquire_owned()).transpose().map_err(|_| {
            let most = Client::uploads_max();
            Refused::busy(format!("{most} uploads of this connection are under way, its limit"))
        })?;
        Ok((place, self.artifacts.uploads().begin(organisation, blake3)?))
    }

    /// Only an active publisher's key opens the door, and only for what its grant says.
    fn admit_upload(&self, grant: &[u8]) -> Result<(Name, UploadGrant), Refused> {
        let grant = SignedUploadGrant::verify_bytes(grant, &self.chain_id, wall_ms())?;
        let owner = self.store.key_owner(grant.publisher).map_err(Refused::internal)?;
        let publisher = owner.filter(|owner| owner.role == Role::Publisher && owner.status == KeyStatus::Active);
        let Some(publisher) = publisher else {
            let message = format!("key {} is no active publisher's", grant.publisher);
            return Err(Refused::new(Code::PermissionDenied, "wrong-role", message, "sign with a publisher's key"));
        };
        if !artifacts::is_storable(grant.size) {
            return Err(Refused::invalid("size", format!("an artifact of {} bytes", grant.size)));
        }
        Ok((publisher.organisation, grant))
    }
}

fn no_download(origin: Origin, no_share: NoShare) -> Refused {
    Refused::busy(match no_share {
        NoShare::Most(most) => {
            format!("{most} downloads of address {origin} are under way, the limit of one address")
        }
        NoShare::Leaves(free) => {
            format!("downloads of address {origin} are under way, as many as the {free} it leaves to others")
        }
        NoShare::All(all) => format!("{all} downloads are under way, the limit of all clients together"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::{Instant, sleep};

    const PIECE: usize = 64 * 1024;

    /// A download of so much whose client takes a piece and rests, until it ends: how it ended, when, and how
    /// many pieces it had taken.
    async fn download(pieces: usize, rest: Duration) -> (Option<Status>, Duration, usize) {
        let (sender, receiver) = mpsc::channel(2);
        let encoding = tokio::spawn(async move {
            for _ in 0..pieces {
                if sender.send(vec![0; PIECE]).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        let since = Instant::now();
        let (answers, mut stream) = answers(());
        let size = (pieces * PIECE) as u64;
        let sending = tokio::spawn(async move {
            send(receiver, encoding, answers, Pace::new(OF_CLIENTS, size)).await;
            since.elapsed()
        });
        let mut taken = 0;
        loop {
            tokio::select! {
                biased;
                () = sleep(rest) => {}
                // The place is free as soon as this has ended, whatever the client does.
                () = async { while !sending.is_finished() { sleep(Duration::from_secs(1)).await } } => {}
            }
            match stream.next().await {
                Some(Ok(_)) => taken += 1,
                end => return (end.map(|end| end.unwrap_err()), sending.await.unwrap(), taken),
            }
        }
    }

    /// A client that reads nothing keeps its place for one window of time, one that reads too little not much
    /// longer; both are told, and what they did not take is not kept for them.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_or_too_little_is_shown_out() {
        let window = OF_CLIENTS.window;
        for rest in [Duration::from_secs(100_000), Duration::from_secs(20)] {
            let (status, ended, taken) = download(1_000, rest).await;
            let refusal = proto::refusal(&status.unwrap()).unwrap();
            assert_eq!(refusal.check, "slow", "{refusal:?}");
            assert!(refusal.message.contains("bytes moved in 30 s"), "{refusal:?}");
            assert!(ended >= window && ended <= window * 2, "{rest:?}: ended after {ended:?}");
            assert!(taken <= 3, "{rest:?}: {taken} taken");
        }
    }

    /// One that reads slowly, but no slower than it may, gets everything.
    #[tokio::test(start_paused = true)]
    async fn a_client_on_a_slow_line_gets_everything() {
        let (status, ended, taken) = download(200, Duration::from_secs(3)).await;
        assert!(status.is_none() && taken == 200, "{status:?} after {taken}");
        assert!(ended > Duration::from_secs(9 * 60), "{ended:?}");
    }
}
