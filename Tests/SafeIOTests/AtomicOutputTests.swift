import Glibc
import SafeIO
import Synchronization
import TensorCore
import TestSupport
import Testing

@Suite("Atomic output") struct AtomicOutputTests {
  private struct Refusal: Error {}

  /// Counts the steps of writing.
  private final class Counter: Sendable {
    private let count = Mutex(0)
    var value: Int { count.withLock { $0 } }
    func next() -> Int {
      count.withLock { count in
        defer { count += 1 }
        return count
      }
    }
  }

  @Test("writes a whole file and leaves nothing else")
  func file() throws {
    let directory = TemporaryDirectory()
    let path = directory.file("out")
    let large = [UInt8](repeating: 7, count: 1 << 20)
    try AtomicFile.write(to: path, byteCount: 1_048_600) { writer in
      try writer.write("abc")
      try writer.pad(toMultipleOf: 8)
      #expect(writer.position == 8)
      try writer.write(MemoryRegion(copying: large))
      try writer.writeLittleEndian(0x0102_0304 as UInt32)
      try writer.overwrite(at: 1, with: [0x42])
      try writer.write([UInt8](repeating: 1, count: 12))
    }
    let bytes = try FileReading.readAll(path)
    #expect(bytes.count == 1_048_600)
    #expect(Array(bytes.prefix(9)) == [0x61, 0x42, 0x63, 0, 0, 0, 0, 0, 7])
    #expect(Array(bytes.suffix(16)) == [4, 3, 2, 1] + [UInt8](repeating: 1, count: 12))
    #expect(directory.entries == ["out"])
  }

  @Test("parts of a range come in any order")
  func ranges() throws {
    let directory = TemporaryDirectory()
    let path = directory.file("out")
    // Long enough that writing back begins on the way.
    let part = 1 << 20
    let byteCount = 40 * part
    try AtomicFile.write(to: path, byteCount: byteCount + 8) { writer in
      try writer.write("head")
      let written = try writer.writeRange(byteCount: byteCount) { range in
        #expect(range.byteCount == byteCount)
        // Backwards, and the odd ones first.
        for place in (0..<40).reversed().filter({ $0 % 2 == 1 }) + (0..<20).map({ $0 * 2 }) {
          try unsafe [UInt8](repeating: UInt8(place), count: part).withUnsafeBytes {
            try unsafe range.write($0, at: place * part)
          }
        }
      }
      #expect(written == byteCount && writer.position == byteCount + 4)
      try writer.write("tail")
    }
    let bytes = try FileReading.readAll(path, limit: 1 << 28)
    #expect(bytes.prefix(4) == Array("head".utf8)[...] && bytes.suffix(4) == Array("tail".utf8)[...])
    for index in 0..<40 {
      let start = 4 + index * part
      #expect(bytes[start..<start + part].allSatisfy { $0 == UInt8(index) })
    }
  }

  @Test("a range that is not filled says so")
  func holes() throws {
    let directory = TemporaryDirectory()
    try AtomicFile.write(to: directory.file("out"), byteCount: nil) { writer in
      let written = try writer.writeRange(byteCount: 10) { range in
        try unsafe [1 as UInt8, 2].withUnsafeBytes { try unsafe range.write($0, at: 8) }
      }
      #expect(written == 2)
    }
    #expect(try FileReading.readAll(directory.file("out")) == [0, 0, 0, 0, 0, 0, 0, 0, 1, 2])
  }

  @Test("files that belong together appear together, or none does")
  func group() throws {
    let directory = TemporaryDirectory()
    let paths = (0..<3).map { directory.file("part-\($0)") }
    for failing in 0..<4 {
      let write = {
        try AtomicFile.write(to: paths, byteCounts: [4, nil, 4]) { index, writer in
          #expect(directory.entries.isEmpty, "before all are whole, none has its name")
          try writer.write([UInt8](repeating: UInt8(index), count: 4))
          if index == failing { throw Refusal() }
        }
      }
      if failing < 3 { #expect(throws: Refusal.self) { try write() } } else { try write() }
      #expect(directory.entries.count == (failing < 3 ? 0 : 3))
    }
    for (index, path) in paths.enumerated() {
      #expect(try FileReading.readAll(path) == [UInt8](repeating: UInt8(index), count: 4))
    }
  }

  @Test("when one of several files cannot get its name, none keeps one")
  func groupNames() throws {
    let directory = TemporaryDirectory()
    let paths = (0..<3).map { directory.file("part-\($0)") }
    for failing in 0..<3 {
      let renames = Counter()
      let faults = WriteFaults { step in step == .rename && renames.next() == failing ? EIO : nil }
      #expect(throws: SafeIOError.self) {
        try AtomicFile.write(to: paths, byteCounts: [nil, nil, nil], faults: faults) {
          try $1.write([UInt8($0)])
        }
      }
      #expect(renames.value == failing + 1)
      #expect(directory.entries.isEmpty)
    }
  }

  @Test("parts are filled in order and hold something")
  func parts() {
    #expect(PartLimit().parts(of: []) == [0..<0])
    #expect(PartLimit().parts(of: [5, 7]) == [0..<2])
    #expect(
      PartLimit(byteCount: 10).parts(of: [5, 5, 1, 30, 9, 1, 1]) == [0..<2, 2..<3, 3..<4, 4..<6, 6..<7])
    #expect(PartLimit(tensorCount: 2).parts(of: [1, 1, 1]) == [0..<2, 2..<3])
    #expect(PartLimit(byteCount: 2, tensorCount: 1).parts(of: [1, 1]) == [0..<1, 1..<2])
    #expect(PartLimit(byteCount: .max).parts(of: [.max, .max]) == [0..<1, 1..<2])
    #expect(PartLimit.label(1, of: 12) == "00002-of-00012")
  }

  @Test(
    "files whose sync is pending have names and bytes at once, and their failure shows at the end",
    arguments: [nil, EIO])
  func pendingSync(code: Int32?) throws {
    let directory = TemporaryDirectory()
    directory.write([1], to: "b")
    let paths = ["a", "b"].map(directory.file)
    let syncs = Counter()
    let faults = WriteFaults { step in step == .synchronize ? (syncs.next() == 1 ? code : nil) : nil }
    let pending = PendingSync()
    try AtomicFile.write(to: paths, byteCounts: [nil, nil], faults: faults, pending: pending) {
      index, writer in
      try writer.write([UInt8](repeating: UInt8(index + 7), count: 1 << 12))
      #expect(try FileReading.readAll(paths[1]) == [1], "before all are whole, none has its name")
    }
    for (index, path) in paths.enumerated() {
      #expect(try FileReading.readAll(path) == [UInt8](repeating: UInt8(index + 7), count: 1 << 12))
    }
    if let code {
      let error = #expect(throws: SafeIOError.self) { try pending.finish() }
      guard case .writeFailed(let file, "sync", code) = error else { throw Refusal() }
      #expect(paths.contains(file))
    } else {
      try pending.finish()
    }
    #expect(syncs.value == 2, "every file was synced once")
    try pending.finish()
    #expect(syncs.value == 2, "what is finished is not waited for again")
  }

  @Test("with a pending sync too, a file that cannot get its name leaves the old ones")
  func pendingSyncRefused() throws {
    let directory = TemporaryDirectory()
    let path = directory.write([1], to: "out")
    let faults = WriteFaults { $0 == .rename ? EIO : nil }
    let pending = PendingSync()
    #expect(throws: SafeIOError.self) {
      try AtomicFile.write(to: [path], byteCounts: [nil], faults: faults, pending: pending) {
        try $1.write([2])
      }
    }
    try pending.finish()
    #expect(try FileReading.readAll(path) == [1])
    #expect(directory.entries == ["out"])
  }

  @Test("leaves the old file when the writer gives up")
  func refusal() throws {
    let directory = TemporaryDirectory()
    let path = directory.write([1], to: "out")
    #expect(throws: Refusal.self) {
      try AtomicFile.write(to: path) { writer in
        try writer.write([UInt8](repeating: 0, count: 1 << 19))
        throw Refusal()
      }
    }
    #expect(try FileReading.readAll(path) == [1])
    #expect(directory.entries == ["out"])
    try AtomicFile.write([2, 3], to: path)
    #expect(try FileReading.readAll(path) == [2, 3])
  }

  @Test("leaves the old file or none whichever step fails", arguments: [ENOSPC, EIO, EDQUOT], [true, false])
  func faults(code: Int32, hasOld: Bool) throws {
    var step = 0
    while true {
      let directory = TemporaryDirectory()
      let path = directory.file("out")
      if hasOld { directory.write([1], to: "out") }
      let failing = step
      let counter = Counter()
      let faults = WriteFaults { _ in counter.next() == failing ? code : nil }
      var error: SafeIOError?
      do {
        try AtomicFile.write(to: path, byteCount: 1 << 20, faults: faults) { writer in
          for _ in 0..<8 { try writer.write([UInt8](repeating: 5, count: 1 << 17)) }
        }
      } catch let thrown as SafeIOError { error = thrown }
      if counter.value <= failing {
        #expect(error == nil)
        break
      }
      if let error {
        if code == ENOSPC { #expect(error.diagnostic.status == .inputOutput) }
        #expect(directory.entries == (hasOld ? ["out"] : []), "step \(step)")
        if hasOld { #expect(try FileReading.readAll(path) == [1]) }
      } else {
        // A system that cannot reserve space is no reason to give up.
        let size = try FileReading.size(path)
        #expect(code == EIO && size == 1 << 20)
      }
      step += 1
    }
    #expect(step >= 8)
  }

  @Test("says when the disk quota of the process ends")
  func fileSizeLimit() async {
    await #expect(processExitsWith: .success) {
      let directory = TemporaryDirectory()
      signal(SIGXFSZ, SIG_IGN)
      var limit = rlimit(rlim_cur: 1 << 16, rlim_max: 1 << 16)
      unsafe setrlimit(__rlimit_resource_t(1), &limit)
      do {
        try AtomicFile.write([UInt8](repeating: 1, count: 1 << 20), to: directory.file("out"))
        exit(2)
      } catch let error as SafeIOError {
        guard case .writeFailed(_, _, let code) = error, code == EFBIG else { exit(3) }
        exit(directory.entries.isEmpty ? 0 : 4)
      } catch {
        exit(5)
      }
    }
  }

  @Test("names the output that cannot be created")
  func impossible() {
    let directory = TemporaryDirectory()
    directory.write([1], to: "file")
    for path in [directory.file("missing/out"), directory.file("file/out"), directory.path] {
      do {
        try AtomicFile.write([1], to: path)
        Issue.record("written")
      } catch let error as SafeIOError {
        #expect(error.diagnostic.status == .cannotCreateOutput)
        #expect(error.diagnostic.file == path)
      } catch { Issue.record(error) }
    }
    #expect(directory.entries == ["file"])
  }

  @Test("writes whole directories")
  func wholeDirectory() throws {
    let directory = TemporaryDirectory()
    let path = directory.file("out")
    try AtomicDirectory.write(to: path + "/") { temporary in
      unsafe mkdir(temporary + "/sub", 0o700)
      try AtomicFile.write([1], to: temporary + "/sub/a")
    }
    #expect(try FileReading.list(path) == ["sub"])
    #expect(throws: SafeIOError.alreadyExists(file: path)) { try AtomicDirectory.write(to: path) { _ in } }
    #expect(throws: Refusal.self) {
      try AtomicDirectory.write(to: path, overwrite: true) { temporary in
        try AtomicFile.write([1], to: temporary + "/b")
        throw Refusal()
      }
    }
    #expect(try FileReading.list(path) == ["sub"])
    try AtomicDirectory.write(to: path, overwrite: true) { temporary in
      try AtomicFile.write([2], to: temporary + "/b")
    }
    #expect(try FileReading.list(path) == ["b"])
    #expect(directory.entries == ["out"])
    unsafe mkdir(directory.file("empty"), 0o700)
    try AtomicDirectory.write(to: directory.file("empty")) { try AtomicFile.write([3], to: $0 + "/c") }
    #expect(try FileReading.list(directory.file("empty")) == ["c"])
  }
}
