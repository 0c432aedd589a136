// Self-checking testbench of {{ twin.told }},
// written by simhw {{ version }}.  {{ source }}
`timescale 1ns / 1ns

module {{ twin.name }}_tb;
{% for memory in memories %}
  reg [{{ memory.bits - 1 }}:0] {{ memory.name }} [0:{{ memory.words - 1 }}];
{% endfor %}
  reg clk = 0, rst = 1, failed = 0;

  always #1 clk = ~clk;

  initial begin
{% for memory in memories %}
    $readmemh("{{ file_of(memory) }}", {{ memory.name }});
{% endfor %}
    #4 rst = 0;
  end

  // The first mismatch is told, and ends the simulation.
  task fail(input integer {{ when }}, input integer {{ who }}, input [8*16-1:0] what, input [63:0] expected, input [63:0] got);
    if (!failed) begin
      failed = 1;
      $display("FAIL {{ when }} %0d, {{ who }} %0d: %0s: expected %0h, got %0h", {{ when }}, {{ who }}, what, expected, got);
      $fatal(1);
    end
  endtask

{% block body %}{% endblock %}

  {{ twin.name }} dut (
{% for port, wire in ports.items() %}
    .\{{ port }} ({{ wire }}){{ "" if loop.last else "," }}
{% endfor %}
  );
endmodule
