{% extends "bench.v" %}
{% set when, who = ("set", "PE") %}
{% block body %}
  localparam SETS = {{ sets_of_pe }}, PES = {{ pes }};
  wire [{{ pes * s_bits - 1 }}:0] s;
  wire [{{ pes * exponent_bits - 1 }}:0] exponent;
  wire [{{ pes * 16 - 1 }}:0] value;
  genvar i;

{% if lanes %}
  // A set is taken in a cycle with `valid` and `take` of its column or row, and stays until then.
  wire [{{ pes - 1 }}:0] busy;
  wire [{{ pes * lanes - 1 }}:0] fires, waits;
{% for side, count in (("a", cols), ("b", rows)) %}
  wire [{{ count - 1 }}:0] {{ side }}_valid, {{ side }}_take;
  wire [{{ count * operand_bits - 1 }}:0] {{ side }};
{% endfor %}
  wire [{{ cols - 1 }}:0] restart, last;
  generate
    for (i = 0; i < {{ cols }}; i = i + 1) begin : column
      integer next = 0;
      wire [{{ memories[0].bits - 1 }}:0] word = a_sets[next < SETS ? next : 0];
      assign a_valid[i] = !rst && next < SETS;
      assign restart[i] = word[0];
      assign last[i] = word[1];
      assign a[i * {{ operand_bits }} +: {{ operand_bits }}] = word[16 + i * {{ operand_bits }} +: {{ operand_bits }}];
      always @(posedge clk) if (a_valid[i] && a_take[i]) next <= next + 1;
    end
    for (i = 0; i < {{ rows }}; i = i + 1) begin : row
      integer next = 0;
      wire [{{ memories[1].bits - 1 }}:0] word = b_sets[next < SETS ? next : 0];
      assign b_valid[i] = !rst && next < SETS;
      assign b[i * {{ operand_bits }} +: {{ operand_bits }}] = word[i * {{ operand_bits }} +: {{ operand_bits }}];
      always @(posedge clk) if (b_valid[i] && b_take[i]) next <= next + 1;
    end
  endgenerate
  wire begins = |busy;
{% else %}
  // A set is taken each cycle.
  integer next = 0;
  wire valid = !rst && next < SETS;
  wire [{{ memories[0].bits - 1 }}:0] set = sets[next < SETS ? next : 0];
  always @(posedge clk) if (valid) next <= next + 1;
  wire begins = valid;
{% endif %}

  // Cycles are counted from the first one in which a set is at work.
  integer now = -1, finished = 0, pe;
  // By PE, the set that it is at; what is expected of it is written for the cycle in which its accumulator is there.
  integer at [0:{{ pes - 1 }}];
  reg [{{ memories[-1].bits - 1 }}:0] result;
{% if chunked %}
  // The running sum has it one cycle later.
  reg [{{ pes - 1 }}:0] folded = 0;
  reg [15:0] sum [0:{{ pes - 1 }}];
{% endif %}
  initial for (pe = 0; pe < PES; pe = pe + 1) at[pe] = 0;

  always @(posedge clk)
    if (!rst && (now >= 0 || begins)) begin
      now = now + 1;
{% if lanes %}
      if (now < {{ cycles }} && {waits, fires} !== lanes[now])
        for (pe = 0; pe < PES; pe = pe + 1) begin
          if (fires[pe*{{ lanes }} +: {{ lanes }}] !== lanes[now][pe*{{ lanes }} +: {{ lanes }}])
            fail(at[pe], pe, "lanes that fire", lanes[now][pe*{{ lanes }} +: {{ lanes }}],
                 fires[pe*{{ lanes }} +: {{ lanes }}]);
          if (waits[pe*{{ lanes }} +: {{ lanes }}] !== lanes[now][(PES+pe)*{{ lanes }} +: {{ lanes }}])
            fail(at[pe], pe, "lanes that wait", lanes[now][(PES+pe)*{{ lanes }} +: {{ lanes }}],
                 waits[pe*{{ lanes }} +: {{ lanes }}]);
        end
{% endif %}
      for (pe = 0; pe < PES; pe = pe + 1) begin
{% if chunked %}
        if (folded[pe] && value[pe*16 +: 16] !== sum[pe])
          fail(at[pe] - 1, pe, "running sum", sum[pe], value[pe*16 +: 16]);
        folded[pe] = 0;
{% endif %}
        result = results[pe * SETS + (at[pe] < SETS ? at[pe] : 0)];
        if (at[pe] < SETS && result[0 +: 32] == now) begin
          if (s[pe*{{ s_bits }} +: {{ s_bits }}] !== result[32 +: {{ s_bits }}])
            fail(at[pe], pe, "S", result[32 +: {{ s_bits }}], s[pe*{{ s_bits }} +: {{ s_bits }}]);
          if (exponent[pe*{{ exponent_bits }} +: {{ exponent_bits }}] !== result[64 +: {{ exponent_bits }}])
            fail(at[pe], pe, "exponent", result[64 +: {{ exponent_bits }}],
                 exponent[pe*{{ exponent_bits }} +: {{ exponent_bits }}]);
{% if chunked %}
          folded[pe] = result[96];
          sum[pe] = result[80 +: 16];
{% else %}
          if (value[pe*16 +: 16] !== result[80 +: 16])
            fail(at[pe], pe, "output", result[80 +: 16], value[pe*16 +: 16]);
{% endif %}
          at[pe] = at[pe] + 1;
          finished = finished + 1;
        end
      end
      if (now > {{ cycles }} + 1 && !failed) begin
        if (finished == PES * SETS) $display("PASS %0d {{ unit }}", finished);
        else fail(0, 0, "sets", PES * SETS, finished);
        $finish;
      end
    end

  // Hardware to which nothing comes, or that begins nothing.
  initial begin
    #100;
    if (now < 0) fail(0, 0, "sets begun", 1, 0);
  end
{% endblock %}
