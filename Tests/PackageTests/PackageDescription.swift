import Glibc
import TestSupport

/// What Package.swift says, read as text: names of targets, what they depend on, and where they lie.
struct PackageDescription {
  struct Target {
    let name: String
    let dependencies: [String]
    let path: String
    let isTest: Bool
  }

  let targets: [Target]

  /// Reads the calls `room(...)`, `tests(...)`, `.target(...)`, `.executableTarget(...)`, `.systemLibrary(...)` that
  /// stand in the list of targets.
  init() {
    let text = Files.text(SharedData.projectRoot + "/Package.swift")
    let list = text.firstRange(of: "targets: [\n").map { text[$0.upperBound...] } ?? ""
    targets = PackageDescription.calls(in: list).compactMap {
      PackageDescription.target($0.name, $0.arguments)
    }
  }

  private static func target(_ call: String, _ arguments: String) -> Target? {
    let strings = arguments.quotedStrings
    guard let name = strings.first else { return nil }
    let isTest = call == "tests" || name == "TestSupport"
    let folder = call == "tests" ? "Tests" : "Sources"
    let path = arguments.firstRange(of: "path: ").flatMap { arguments[$0.upperBound...].quotedStrings.first }
    let opening = arguments.firstIndex(of: "[")
    let closing = opening.flatMap { arguments[$0...].firstIndex(of: "]") }
    var dependencies: [String] = []
    if call != ".systemLibrary", let opening, let closing {
      dependencies = arguments[opening..<closing].quotedStrings
    }
    if call == "tests" { dependencies.append("TestSupport") }
    return Target(name: name, dependencies: dependencies, path: path ?? "\(folder)/\(name)", isTest: isTest)
  }

  /// Calls at the outermost level, with what stands between their parentheses; comments are left out.
  private static func calls(in text: Substring) -> [(name: String, arguments: String)] {
    var result: [(name: String, arguments: String)] = []
    var word = ""
    var arguments = ""
    var depth = 0
    for line in text.split(separator: "\n") {
      let code = line.firstRange(of: "//").map { line[..<$0.lowerBound] } ?? line
      for character in code {
        switch character {
        case "(":
          if depth > 0 { arguments.append(character) }
          depth += 1
        case ")":
          depth -= 1
          guard depth >= 0 else { return result }
          if depth > 0 { arguments.append(character) } else { result.append((word, arguments)) }
          if depth == 0 { (word, arguments) = ("", "") }
        case "]" where depth == 0: return result
        default:
          if depth > 0 {
            arguments.append(character)
          } else if character.isLetter || character == "." {
            word.append(character)
          }
        }
      }
    }
    return result
  }
}

extension StringProtocol {
  /// What stands between double quotes.
  var quotedStrings: [String] {
    split(separator: "\"", omittingEmptySubsequences: false).enumerated().compactMap {
      $0 % 2 == 1 ? String($1) : nil
    }
  }
}

/// Files of the project.
enum Files {
  static func text(_ path: String) -> String {
    guard let file = unsafe fopen(path, "r") else { return "" }
    defer { unsafe fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = unsafe fread(&buffer, 1, buffer.count, file)
      guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
      bytes += buffer[..<count]
    }
  }

  /// Paths of everything below a folder, folders left out.
  static func all(below path: String) -> [String] {
    guard let stream = unsafe opendir(path) else { return [] }
    defer { unsafe closedir(stream) }
    var result: [String] = []
    while let entry = unsafe readdir(stream) {
      let isFolder = unsafe entry.pointee.d_type == UInt8(DT_DIR)
      let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard !name.hasPrefix(".") else { continue }
      result += isFolder ? all(below: path + "/" + name) : [path + "/" + name]
    }
    return result.sorted()
  }

  static func swift(below path: String) -> [String] { all(below: path).filter { $0.hasSuffix(".swift") } }

  /// Path without the project's root.
  static func short(_ path: String) -> String { String(path.dropFirst(SharedData.projectRoot.count + 1)) }
}
