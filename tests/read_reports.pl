# Reads notifications with parsers that have nothing to do with Python: files named on the command line, JSON out.
use strict;
use warnings;
use JSON::PP;
use MIME::Parser;
use Mail::DeliveryStatus::BounceParser;
use Mail::Header;

my @read;
for my $path (@ARGV) {
    my $parser = MIME::Parser->new;
    $parser->output_to_core(1);
    my $entity = $parser->parse_open($path);
    my ($text, $status, $returned) = $entity->parts;
    my @groups;
    # What it calls message/* it has parsed as a message: the fields of the first group are its header.
    my $octets = $status->stringify_body;
    $octets =~ s/\r\n/\n/g;
    for my $block (split /\n{2,}/, $octets =~ s/\A\n+|\n+\z//gr) {
        my $header = Mail::Header->new([map { "$_\n" } split /\n/, $block]);
        $header->unfold;
        push @groups, { map { my $value = $header->get($_); chomp $value; (lc($_), $value) } $header->tags };
    }
    open my $file, "<", $path or die "$path: $!";
    my $whole = do { local $/; <$file> };
    my $bounce = Mail::DeliveryStatus::BounceParser->new($whole);
    push @read, {
        type => $entity->effective_type,
        report_type => $entity->head->mime_attr("content-type.report-type"),
        types => [map { $_->effective_type } $text, $status, $returned],
        groups => \@groups,
        is_bounce => $bounce->is_bounce ? 1 : 0,
        bounced => [map { [$_->get("email") // "", $_->get("status") // "", $_->get("smtp_code") // ""] } $bounce->reports],
        original => $bounce->orig_message_id // "",
    };
}
print JSON::PP->new->canonical->latin1->encode(\@read);
