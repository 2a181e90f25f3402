import Evaluation
import TestSupport
import Testing

@Suite("Numbers and tables as text")
struct TextTests {
  @Test("Fixed decimals")
  func fixed() {
    #expect(NumberFormat.fixed(27.5644, 2) == "27.56")
    #expect(NumberFormat.fixed(-0.001, 2) == "0.00")
    #expect(NumberFormat.fixed(-1.005, 1) == "-1.0")
    #expect(NumberFormat.fixed(0.05, 3) == "0.050")
    #expect(NumberFormat.fixed(9.9999, 2) == "10.00")
    #expect(NumberFormat.fixed(1234, 0) == "1234")
    #expect(NumberFormat.fixed(.nan, 2) == "nan")
    #expect(NumberFormat.fixed(-.infinity, 2) == "-inf")
    #expect(NumberFormat.fixed(1e300, 3) == "1e+300")
  }

  @Test("Significant digits")
  func significant() {
    #expect(NumberFormat.significant(0.044512, 3) == "0.0445")
    #expect(NumberFormat.significant(0.0009996, 3) == "0.00100")
    #expect(NumberFormat.significant(123456, 3) == "123456")
    #expect(NumberFormat.significant(12.345, 3) == "12.3")
    #expect(NumberFormat.significant(9.996, 3) == "10.0")
    #expect(NumberFormat.significant(1.5e-9, 2) == "1.5e-9")
    #expect(NumberFormat.significant(-2.25e12, 3) == "-2.25e12")
    #expect(NumberFormat.significant(0, 3) == "0")
    #expect(NumberFormat.significant(.infinity, 3) == "inf")
    #expect(NumberFormat.significant(.leastNonzeroMagnitude, 2) == "4.9e-324")
  }

  @Test("Random numbers read back to the digits asked for")
  func roundTrip() throws {
    var generator = SeededGenerator(seed: 9)
    for _ in 0..<2000 {
      let value = Double.random(in: -1000...1000, using: &generator)
      let back = try #require(Double(NumberFormat.fixed(value, 4)))
      #expect(abs(back - value) <= 0.5000001e-4, "\(value)")
      let digits = try #require(Double(NumberFormat.significant(value, 5)))
      #expect(abs(digits - value) <= abs(value) * 0.50001e-4, "\(value)")
    }
  }

  @Test("Errors, bytes and rates")
  func others() {
    #expect(NumberFormat.uncertain(27.5644, error: 0.213) == "27.56 ± 0.21")
    #expect(NumberFormat.uncertain(0.0444912, error: 0.000312) == "0.04449 ± 0.00031")
    #expect(NumberFormat.uncertain(1234.5, error: 23) == "1234 ± 23")
    #expect(NumberFormat.uncertain(0.08123, error: 0.00081, digits: 1) == "0.0812 ± 0.0008")
    #expect(NumberFormat.uncertain(5, error: 1.5, digits: 1) == "5 ± 2")
    #expect(NumberFormat.uncertain(2, error: 0) == "2.0000")
    #expect(NumberFormat.bytes(7) == "7 B")
    #expect(NumberFormat.bytes(1536) == "1.50 KiB")
    #expect(NumberFormat.bytes(7_878_800) == "7.51 MiB")
    #expect(NumberFormat.bytes(.max) == "8.00 EiB")
    #expect(NumberFormat.grouped(1_234_567.4) == "1\u{202F}234\u{202F}567")
    #expect(NumberFormat.grouped(1234) == "1234")
    #expect(NumberFormat.rate(55.55) == "55.6" || NumberFormat.rate(55.55) == "55.5")
  }

  @Test("A plain table")
  func plain() {
    var table = TextTable(["model", "size"], alignments: [.leading])
    table.addRow(["acorn", "7.5"])
    table.addRow(["ü", "1234"])
    #expect(table.plain == "model  size\n─────  ────\nacorn   7.5\nü      1234\n")
    table.addColumns(["note"], alignment: .leading)
    table.addRow(["x"])
    #expect(table.plain.split(separator: "\n").allSatisfy { $0.last != " " })
    #expect(table.rows.allSatisfy { $0.count == 3 })
  }

  @Test("Markdown and comma-separated values escape what they must")
  func escapes() {
    var table = TextTable(["a|b", "n"], alignments: [.leading])
    table.addRow(["x,\"y\"", "1"])
    #expect(table.markdown == "| a\\|b  |   n |\n| ----- | --: |\n| x,\"y\" |   1 |\n")
    #expect(table.commaSeparated == "a|b,n\n\"x,\"\"y\"\"\",1\n")
  }
}
