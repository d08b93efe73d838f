//! How inventories travel: packed, alone or on one that both sides have (docs/protocol.md 15.4).

use ledger::limits::{INVENTORY_BYTES_MAX, INVENTORY_PACKED_BYTES_MAX};
use std::io;

/// How hard is tried to make one small. More of it takes tens of mebibytes to pack one on another, which an agent has
/// not, and saves next to nothing there: what travels whole travels once.
const LEVEL: i32 = 3;

/// Why an inventory is not packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PackedError {
    /// Larger than may travel.
    #[error("the inventory has {0} bytes when it is packed, {INVENTORY_PACKED_BYTES_MAX} at most may travel")]
    TooLarge(usize),
    /// Not packed, or on another one, or larger than an inventory may be.
    #[error("this cannot be unpacked")]
    Unpack(#[source] io::Error),
    /// The library that packs said no.
    #[error("this cannot be packed")]
    Pack(#[source] io::Error),
}

/// Packs an encoded inventory, on the bytes of another one or on none.
///
/// # Errors
/// [`PackedError`] when it is too large to travel.
pub fn pack(inventory: &[u8], base: &[u8]) -> Result<Vec<u8>, PackedError> {
    let compressor = zstd::bulk::Compressor::with_dictionary(LEVEL, base);
    let packed = compressor.and_then(|mut compressor| compressor.compress(inventory)).map_err(PackedError::Pack)?;
    match packed.len() > INVENTORY_PACKED_BYTES_MAX {
        true => Err(PackedError::TooLarge(packed.len())),
        false => Ok(packed),
    }
}

/// What was packed so, on the bytes of another one or on none: at most as much as an inventory may be.
///
/// # Errors
/// [`PackedError`]. Whether it is the inventory that was meant is for its digest to say.
pub fn unpack(packed: &[u8], base: &[u8]) -> Result<Vec<u8>, PackedError> {
    if packed.len() > INVENTORY_PACKED_BYTES_MAX {
        return Err(PackedError::TooLarge(packed.len()));
    }
    let decompressor = zstd::bulk::Decompressor::with_dictionary(base);
    let unpacked = decompressor.and_then(|mut decompressor| decompressor.decompress(packed, INVENTORY_BYTES_MAX));
    unpacked.map_err(PackedError::Unpack)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::bounded::SortedList;
    use ledger::encoding::encode;
    use ledger::inventory::{Fact, Package, Source};

    /// As many packages as a large host has, with names and versions that are no two alike.
    fn packages(count: usize, changed: usize) -> Vec<u8> {
        let package = |number: usize| {
            let words = ledger::id::Digest::blake3(&number.to_le_bytes()).to_string();
            let version =
                if number == changed { "2.0-1".to_owned() } else { format!("1.{}-{}", number % 40, &words[..3]) };
            let fact = |text: String| Fact::new(text).unwrap();
            let (name, variant) = (fact(format!("lib{}{}", &words[3..9], number % 10)), fact("amd64".to_owned()));
            Package { source: Source::Dpkg, name, variant, version: fact(version), detail: Fact::default() }
        };
        encode(&SortedList::<_, 16_384>::new((0..count).map(package).collect()).unwrap())
    }

    #[test]
    fn what_was_packed_is_unpacked_alone_and_on_another() {
        let (before, after) = (packages(10_000, usize::MAX), packages(10_000, 4_321));
        let alone = pack(&after, &[]).unwrap();
        assert_eq!(unpack(&alone, &[]).unwrap(), after);
        let on_before = pack(&after, &before).unwrap();
        assert_eq!(unpack(&on_before, &before).unwrap(), after);
        println!("{} bytes: {} packed, {} packed on the one before", after.len(), alone.len(), on_before.len());
        assert!(on_before.len() * 20 < alone.len(), "one package in ten thousand is little: {}", on_before.len());
        // On another one it is something else, or nothing.
        assert!(unpack(&on_before, &after).map_or(true, |unpacked| unpacked != after));
        assert!(unpack(&on_before, &[]).is_err());
    }

    #[test]
    fn what_is_too_large_is_neither_packed_nor_unpacked() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
        assert!(bomb.len() < 16 * 1024);
        assert!(matches!(unpack(&bomb, &[]), Err(PackedError::Unpack(_))));
        assert!(matches!(unpack(&vec![0; INVENTORY_PACKED_BYTES_MAX + 1], &[]), Err(PackedError::TooLarge(_))));
        assert!(matches!(unpack(b"not packed", &[]), Err(PackedError::Unpack(_))));
        let noise: Vec<u8> =
            (0..20_000_u64).flat_map(|number| ledger::id::Digest::blake3(&number.to_le_bytes()).0).collect();
        assert!(matches!(pack(&noise, &[]), Err(PackedError::TooLarge(_))));
    }
}
