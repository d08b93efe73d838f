//! Who stays, who is shown out, and when.

use super::*;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt as _;

/// A door, and those that come in.
async fn door(most: usize) -> (SocketAddr, impl Stream<Item = io::Result<Connection>> + Unpin) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), incoming(listener, Connections::new(most, [])))
}

/// Somebody comes from an address of this host.
async fn come(from: &str, to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// A clock that stands until everybody waits shows what happens after any time.
#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_closed_after_its_time() {
    let (address, mut connections) = door(1).await;
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut connection = connections.next().await.unwrap().unwrap();
    let since = Instant::now();
    let error = connection.read_u8().await.unwrap_err();
    assert_eq!((error.kind(), since.elapsed().as_secs()), (io::ErrorKind::TimedOut, FIRST_REQUEST_MAX.as_secs()));

    drop(connection);

    // One that asked once is closed when it has rested for long, however it asked.
    let _asking = TcpStream::connect(address).await.unwrap();
    let mut connection = connections.next().await.unwrap().unwrap();
    let mut request = tonic::Request::new(());
    request.extensions_mut().insert(connection.client.clone());
    note_request(request).unwrap();
    let since = Instant::now();
    let error = connection.read_u8().await.unwrap_err();
    assert_eq!((error.kind(), since.elapsed().as_secs()), (io::ErrorKind::TimedOut, REST_MAX.as_secs()));
}

/// A call may take as long as it likes, and one that ends begins the time anew.
#[tokio::test(start_paused = true)]
async fn a_connection_with_a_call_under_way_stays_and_rests_from_its_end() {
    let (address, mut connections) = door(1).await;
    let _client = TcpStream::connect(address).await.unwrap();
    let mut connection = connections.next().await.unwrap().unwrap();
    let calls = connection.client.calls.clone();
    let (first, second) = (calls.begin(), calls.begin());
    let a_while = 100 * REST_MAX + Duration::from_secs(7);
    assert!(timeout(a_while, connection.read_u8()).await.is_err(), "it is still there");
    drop(first);
    assert!(timeout(a_while, connection.read_u8()).await.is_err(), "one of two is still under way");
    drop(second);
    let since = Instant::now();
    let error = connection.read_u8().await.unwrap_err();
    assert_eq!((error.kind(), since.elapsed().as_secs()), (io::ErrorKind::TimedOut, REST_MAX.as_secs()));
}

/// A connection, and when it ends if something is owed to it for so long, of which so many bytes go every
/// second.
async fn owing(going: usize) -> Option<u64> {
    let (address, mut connections) = door(1).await;
    let _client = TcpStream::connect(address).await.unwrap();
    let mut connection = connections.next().await.unwrap().unwrap();
    let _call = connection.client.calls.begin();
    let owed = connection.client.owed.clone();
    let _debt = owed.add(10 * 1024 * 1024);
    let since = Instant::now();
    for _ in 0..300 {
        match timeout(Duration::from_secs(1), connection.read_u8()).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => return Some(since.elapsed().as_secs()),
            Ok(other) => panic!("{other:?}"),
            Err(_) => {
                // The client takes so much, and the node has something to say to it besides.
                drop(owed.add(going));
                connection.write_all(&[0; 64]).await.unwrap();
            }
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_take_its_answers_is_closed_after_its_time() {
    let window = OF_CLIENTS.window.as_secs();
    assert_eq!(owing(0).await, Some(window));
    assert_eq!(owing(1_000).await, Some(window), "a little is not enough");
    assert_eq!(owing(17 * 1024).await, None, "it reads");
}

/// Who gives up an answer takes it no more, and has done nothing wrong.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_given_up_is_not_waited_for() {
    let (address, mut connections) = door(1).await;
    let _client = TcpStream::connect(address).await.unwrap();
    let mut connection = connections.next().await.unwrap().unwrap();
    let _call = connection.client.calls.begin();
    for _ in 0..10 {
        let debt = connection.client.owed.add(1024 * 1024);
        let end = timeout(OF_CLIENTS.window / 2, connection.read_u8()).await;
        assert!(end.is_err(), "it was closed: {end:?}");
        drop(debt);
    }
    let end = timeout(100 * OF_CLIENTS.window, connection.read_u8()).await;
    assert!(end.is_err(), "it was closed: {end:?}");
}

/// Half of eight places are one address's. One more of it takes the place of the one that has rested longest; where
/// each has a call under way, it is closed unheard.
#[tokio::test]
async fn an_address_that_has_its_share_makes_room_for_itself() {
    let (address, mut connections) = door(8).await;
    let mut clients = Vec::new();
    let mut held = Vec::new();
    for _ in 0..4 {
        clients.push(come("127.0.0.1", address).await);
        held.push(connections.next().await.unwrap().unwrap());
    }
    let _calls: Vec<_> = held[1..].iter().map(|connection| connection.client.calls.begin()).collect();
    drop(held[0].client.calls.begin());
    let _fifth = come("127.0.0.1", address).await;
    let fifth = connections.next().await.unwrap().unwrap();
    assert_eq!(held[0].read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    held.remove(0);
    let _call = fifth.client.calls.begin();

    let mut sixth = come("127.0.0.1", address).await;
    let _elsewhere = come("127.0.0.2", address).await;
    let elsewhere = connections.next().await.unwrap().unwrap();
    assert_eq!(elsewhere.client.origin.to_string(), "127.0.0.2");
    assert_eq!(sixth.read(&mut [0]).await.unwrap_or(0), 0, "it was closed");
    // And when one has gone, another may come.
    drop(held);
    let _seventh = come("127.0.0.1", address).await;
    assert_eq!(connections.next().await.unwrap().unwrap().client.origin.to_string(), "127.0.0.1");
}

/// Whether somebody is let in: he is welcomed then, and closed unheard otherwise.
async fn is_let_in(client: &mut TcpStream) -> bool {
    client.read(&mut [0]).await.unwrap_or(0) == 1
}

/// Twelve networks take all they are given, and are busy. Whoever comes then is let in, and so is the next.
#[tokio::test]
async fn a_newcomer_takes_the_place_of_one_who_holds_most() {
    const MOST: usize = 32;
    let (address, mut connections) = door(MOST).await;
    let door = tokio::spawn(async move {
        while let Some(Ok(mut connection)) = connections.next().await {
            let _busy = tokio::spawn(async move {
                let _call = connection.client.calls.begin();
                connection.write_all(b"!").await.unwrap();
                // Until it has to go.
                connection.read_u8().await
            });
        }
    });
    let mut clients = Vec::new();
    for network in 1..=12 {
        let mut let_in = 0;
        for _ in 0..MOST {
            let mut client = come(&format!("127.0.{network}.1"), address).await;
            let_in += usize::from(is_let_in(&mut client).await);
            clients.push(client);
        }
        assert!(let_in >= 2, "network {network} got nothing");
    }
    for host in 1..=2 {
        let mut newcomer = come(&format!("127.0.77.{host}"), address).await;
        assert!(is_let_in(&mut newcomer).await);
        clients.push(newcomer);
    }
    door.abort();
}
