//! The records of one partition, taken from the client many at a time.
//!
//! One call for a thousand records costs a third of a call for each. The client's own queue cannot be read so: it carries events too,
//! which such a call swallows. So each partition's queue is taken out of it, before the partition is assigned. The client keeps
//! what was taken out apart, and its own queue has events only.
//!
//! This is the only unsafe code of the connectors. Sources: `rdkafka.h` of librdkafka 2 (`rd_kafka_queue_get_partition`, `rd_kafka_queue_forward`,
//! `rd_kafka_consume_batch_queue`, `rd_kafka_message_headers`).

use std::{ffi::CString, ptr, slice, sync::Arc};

use rdkafka::{
    bindings as native,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    types::RDKafkaRespErr,
};

/// A partition's queue. Holds the client, so that it is let go before the client is.
pub struct Queue<C: ConsumerContext + 'static> {
    queue: *mut native::rd_kafka_queue_t,
    /// Where one call puts what it takes; empty between calls.
    taken: Vec<*mut native::rd_kafka_message_t>,
    _client: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues may be used from any thread (`INTRODUCTION.md`, "Threads and callbacks"); `&mut self` keeps calls apart.
unsafe impl<C: ConsumerContext + 'static> Send for Queue<C> {}

/// What a partition's queue gives.
pub enum Taken<'a> {
    Record(Record<'a>),
    /// All that there was at some moment has come: the offset behind it.
    End(i64),
    /// The client cannot go on with this partition as it is.
    Trouble(RDKafkaRespErr, String),
}

/// A record, as long as the callback that is given it runs.
pub struct Record<'a> {
    message: &'a native::rd_kafka_message_t,
}

impl<C: ConsumerContext + 'static> Queue<C> {
    /// Takes a partition's queue out of the client's own. To be called before the partition is assigned. `None`: the client has no
    /// such partition.
    pub fn of(client: &Arc<BaseConsumer<C>>, topic: &str, partition: i32) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client lives; the queue that comes back is ours to destroy.
        let queue =
            unsafe { native::rd_kafka_queue_get_partition(client.client().native_ptr(), topic.as_ptr(), partition) };
        if queue.is_null() {
            return None;
        }
        // SAFETY: a queue of the client; a null target ends its forwarding.
        unsafe { native::rd_kafka_queue_forward(queue, ptr::null_mut()) };
        Some(Self { queue, taken: Vec::new(), _client: client.clone() })
    }

    /// Gives what has come to `each`, in order, and at most `most` of it. Waits for nothing. False: there was nothing.
    pub fn take(&mut self, most: usize, mut each: impl FnMut(Taken)) -> bool {
        self.taken.resize(most, ptr::null_mut());
        // SAFETY: room for `most` pointers; those that come back are ours to destroy, each once.
        let count = unsafe { native::rd_kafka_consume_batch_queue(self.queue, 0, self.taken.as_mut_ptr(), most) };
        let count = usize::try_from(count).unwrap_or(0);
        let taken = Owned { messages: &self.taken[..count] };
        for message in taken.messages {
            // SAFETY: a message of the call above, destroyed when `taken` is dropped.
            each(unsafe { &**message }.into());
        }
        count > 0
    }
}

impl<C: ConsumerContext + 'static> Drop for Queue<C> {
    fn drop(&mut self) {
        // SAFETY: made in `of`, destroyed once; the client is still there.
        unsafe { native::rd_kafka_queue_destroy(self.queue) };
    }
}

/// Messages that are destroyed, whatever their reader does.
struct Owned<'a> {
    messages: &'a [*mut native::rd_kafka_message_t],
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        for message in self.messages {
            // SAFETY: each came from the client once and is destroyed once.
            unsafe { native::rd_kafka_message_destroy(*message) };
        }
    }
}

impl<'a> From<&'a native::rd_kafka_message_t> for Taken<'a> {
    fn from(message: &'a native::rd_kafka_message_t) -> Self {
        match message.err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Self::Record(Record { message }),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => Self::End(message.offset),
            error => {
                // Of an error, the payload is its text.
                // SAFETY: `payload` and `len` of a message of the client.
                let text = unsafe { bytes(message.payload, message.len) };
                Self::Trouble(error, String::from_utf8_lossy(text.unwrap_or_default()).into_owned())
            }
        }
    }
}

impl Record<'_> {
    pub fn offset(&self) -> i64 {
        self.message.offset
    }

    /// `None`: a record without a value, which deletes what its key names.
    pub fn value(&self) -> Option<&[u8]> {
        // SAFETY: `payload` and `len` of a living message.
        unsafe { bytes(self.message.payload, self.message.len) }
    }

    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: `key` and `key_len` of a living message.
        unsafe { bytes(self.message.key, self.message.key_len) }
    }

    /// Milliseconds since 1970; `None` where the topic has no times.
    pub fn time(&self) -> Option<i64> {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: a living message, and a place for the kind.
        let time = unsafe { native::rd_kafka_message_timestamp(self.message, &mut kind) };
        (kind != native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && time >= 0).then_some(time)
    }

    /// Gives name and value of each header to `each`, in order.
    pub fn headers(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = ptr::null_mut();
        // SAFETY: a living message, which goes on owning its headers.
        let found = unsafe { native::rd_kafka_message_headers(self.message, &mut headers) };
        if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers live with the message; what is given back lies in them.
            let found = unsafe { native::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length) };
            if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: a name ends with a zero byte; the value has this length.
            let (name, value) = unsafe { (std::ffi::CStr::from_ptr(name), bytes(value, length)) };
            each(name.to_bytes(), value);
        }
    }
}

/// # Safety
/// `start` is null, or the first of `length` bytes that live as long as `'a`.
unsafe fn bytes<'a>(start: *const std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: promised by the caller.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast(), length) })
}
