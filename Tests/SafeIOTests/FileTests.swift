import Glibc
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite("Files") struct FileTests {
  @Test("maps files and refuses what is none")
  func mapping() throws {
    let directory = TemporaryDirectory()
    directory.write([1, 2, 3], to: "a")
    directory.write([], to: "empty")
    #expect(try FileReading.readAll(directory.file("a")) == [1, 2, 3])
    #expect(try MappedFile.open(directory.file("empty")).byteCount == 0)
    #expect(throws: SafeIOError.missing(file: directory.file("b"))) {
      try MappedFile.open(directory.file("b"))
    }
    #expect(throws: SafeIOError.missing(file: directory.file("a/b"))) {
      try MappedFile.open(directory.file("a/b"))
    }
    #expect(throws: SafeIOError.notRegular(file: directory.path)) { try MappedFile.open(directory.path) }
    #expect(throws: SafeIOError.self) { try FileReading.readAll(directory.file("a"), limit: 2) }
    let pipe = directory.file("pipe")
    unsafe mkfifo(pipe, 0o600)
    #expect(throws: SafeIOError.notRegular(file: pipe)) { try MappedFile.open(pipe) }
    #expect(SafeIOError.missing(file: "x").diagnostic.status == .missingInput)
  }

  @Test("keeps names from files inside their directory")
  func names() throws {
    let directory = TemporaryDirectory()
    directory.write([9], to: "secret")
    let model = directory.file("model")
    unsafe mkdir(model, 0o700)
    directory.write([1], to: "model/real")
    unsafe symlink("real", model + "/inside")
    unsafe symlink("../secret", model + "/outside")
    unsafe symlink("nowhere", model + "/dangling")
    #expect(try MappedFile.open(name: "real", in: model).byteCount == 1)
    #expect(try MappedFile.open(name: "inside", in: model).byteCount == 1)
    for name in ["../secret", "/etc/passwd", "a/../../b", "..", ".", "", "real\0x", "real/", "outside"] {
      #expect(throws: SafeIOError.outsideDirectory(file: model, name: name)) {
        try MappedFile.open(name: name, in: model)
      }
    }
    #expect(throws: SafeIOError.missing(file: model + "/dangling")) {
      try MappedFile.open(name: "dangling", in: model)
    }
  }

  @Test("follows the links of a Hugging Face cache")
  func cache() throws {
    let directory = TemporaryDirectory()
    for path in ["blobs", "snapshots", "snapshots/1"] {
      #expect(unsafe mkdir(directory.file(path), 0o700) == 0)
    }
    directory.write([1, 2], to: "blobs/abc")
    directory.write([1, 2], to: "other")
    unsafe symlink("../../blobs/abc", directory.file("snapshots/1/model"))
    unsafe symlink("../../other", directory.file("snapshots/1/bad"))
    #expect(try MappedFile.open(name: "model", in: directory.file("snapshots/1")).byteCount == 2)
    #expect(throws: SafeIOError.self) { try MappedFile.open(name: "bad", in: directory.file("snapshots/1")) }
  }

  @Test("takes paths apart")
  func paths() {
    #expect(FileReading.fileName("/a/b.c") == "b.c")
    #expect(FileReading.fileName("b") == "b")
    #expect(FileReading.directory(of: "/a/b") == "/a")
    #expect(FileReading.directory(of: "/a") == "/")
    #expect(FileReading.directory(of: "a") == ".")
    #expect(FileReading.isSameFile("/tmp", "/tmp/."))
  }

  @Test("reads little-endian values and never beyond the end")
  func byteReader() throws {
    var reader = ByteReader([1, 2, 3, 4, 0, 0, 0x80, 0x3F, 0x61, 0xC3, 0xA9, 7], file: "f")
    #expect(try reader.readLittleEndian(UInt16.self) == 0x0201)
    #expect(try reader.readLittleEndian(Int16.self) == 0x0403)
    #expect(try reader.readFloat() == 1)
    #expect(try reader.readText(3) == "aé")
    #expect(throws: SafeIOError.truncated(file: "f", offset: 11, needed: 2, available: 1)) {
      try reader.readLittleEndian(UInt16.self)
    }
    #expect(reader.remaining == 1)
    #expect(throws: SafeIOError.self) { try reader.skip(-1) }
    #expect(throws: SafeIOError.self) { try reader.skip(.max) }
    #expect(throws: SafeIOError.self) { try reader.align(to: 8) }
    #expect(try reader.require(count: 1, minimumByteCount: 1) == 1)
    #expect(throws: SafeIOError.self) { try reader.require(count: .max, minimumByteCount: 8) }
    #expect(throws: SafeIOError.self) { try reader.require(count: 1 << 62, minimumByteCount: 1) }
  }

  @Test("refuses text that is not UTF-8 at its byte")
  func byteReaderText() {
    var reader = ByteReader([0x61, 0x62, 0xFF], file: "f")
    #expect(throws: SafeIOError.malformed(file: "f", offset: 2, problem: "the text is not UTF-8")) {
      try reader.readText(3)
    }
  }
}
