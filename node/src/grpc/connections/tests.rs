//! Who stays, who is shown out, and when.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt as _;

/// A door, and how many may be there.
async fn door(most: usize) -> (SocketAddr, TcpListener, Arc<Shares>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), listener, shares(most))
}

/// A clock that stands until everybody waits shows what happens after any time.
#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_closed_after_its_time() {
    let (address, listener, _) = door(1).await;
    let mut connections = incoming(listener);
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut connection = connections.next().await.unwrap().unwrap();
    let since = Instant::now();
    let error = connection.read_u8().await.unwrap_err();
    assert_eq!((error.kind(), since.elapsed().as_secs()), (io::ErrorKind::TimedOut, FIRST_REQUEST_MAX.as_secs()));

    // One that asked may then be silent for as long as it likes.
    let _asking = TcpStream::connect(address).await.unwrap();
    let mut connection = connections.next().await.unwrap().unwrap();
    let mut request = tonic::Request::new(());
    request.extensions_mut().insert(connection.client.clone());
    note_request(request).unwrap();
    assert!(timeout(100 * FIRST_REQUEST_MAX, connection.read_u8()).await.is_err(), "it is still there");
}

/// A connection, and when it ends if something is owed to it for so long, of which so many bytes go every
/// second.
async fn owing(going: usize) -> Option<u64> {
    let (address, listener, _) = door(1).await;
    let mut connections = incoming(listener);
    let _client = TcpStream::connect(address).await.unwrap();
    let mut connection = connections.next().await.unwrap().unwrap();
    connection.client.asked.store(true, Ordering::Relaxed);
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
    let (address, listener, _) = door(1).await;
    let mut connections = incoming(listener);
    let _client = TcpStream::connect(address).await.unwrap();
    let mut connection = connections.next().await.unwrap().unwrap();
    connection.client.asked.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        let debt = connection.client.owed.add(1024 * 1024);
        let end = timeout(OF_CLIENTS.window / 2, connection.read_u8()).await;
        assert!(end.is_err(), "it was closed: {end:?}");
        drop(debt);
    }
    let end = timeout(100 * OF_CLIENTS.window, connection.read_u8()).await;
    assert!(end.is_err(), "it was closed: {end:?}");
}

#[tokio::test]
async fn no_address_has_more_connections_than_it_leaves_to_others() {
    let (address, listener, shares) = door(4).await;
    let _first = TcpStream::connect(address).await.unwrap();
    let _second = TcpStream::connect(address).await.unwrap();
    let held = [accept(&listener, &shares).await, accept(&listener, &shares).await];
    // The third is closed unheard, the one from elsewhere is taken.
    let mut third = TcpStream::connect(address).await.unwrap();
    let elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let _fourth = elsewhere.connect(address).await.unwrap();
    let (_, from, _share) = accept(&listener, &shares).await;
    assert_eq!(from.ip().to_string(), "127.0.0.2");
    assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0, "it was closed");
    // And when one has gone, another may come.
    drop(held);
    let _fifth = TcpStream::connect(address).await.unwrap();
    let (_, from, _share) = accept(&listener, &shares).await;
    assert_eq!(from.ip().to_string(), "127.0.0.1");
}
